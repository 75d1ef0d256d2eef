# PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt ruby receiver.rb
require "openssl"
require "set"
require "socket"

TOLERANCE = 300 # seconds
LARGEST_BODY = 2 << 20
KEY = ENV.fetch("WEBHOOK_SECRET").delete_prefix("whsec_").unpack1("m0")
LOCK = Mutex.new
DONE_FILE = File.open(ENV.fetch("DONE_FILE"), "a+")
DONE = DONE_FILE.read.split("\n").to_set

# Whether one of the signatures is ours, and of the last five minutes.
def genuine?(headers, body)
  id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
  return false unless timestamp&.match?(/\A[0-9]{1,12}\z/)
  return false if (Time.now.to_i - timestamp.to_i).abs > TOLERANCE
  mac = OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{timestamp}.".b + body)
  expected = "v1," + [mac].pack("m0")
  # Several while a secret is rotated; each is compared in constant time.
  headers.fetch("webhook-signature", "").split(" ").any? do |candidate|
    OpenSSL.secure_compare(candidate, expected)
  end
end

def do_once(id, body)
  # With a database: insert the id into a table with a unique key, in the transaction that does
  # the work. Here a file has the ids.
  LOCK.synchronize do
    next if DONE.include?(id)
    # YOUR WORK with `body`, in the same transaction.
    DONE_FILE.write(id + "\n")
    DONE_FILE.fsync
    DONE << id
  end
end

# In an application the web framework does this; take the raw body from it (`request.raw_post`).
def status_for(connection)
  return 405 unless connection.gets("\n", 8192)&.start_with?("POST ")
  headers = {}
  while (line = connection.gets("\n", 8192)&.chomp) && line != ""
    name, value = line.split(":", 2)
    headers[name.downcase] = value.to_s.strip
  end
  length = headers["content-length"].to_i
  return 413 if length > LARGEST_BODY
  body = connection.read(length).to_s # the bytes as they came; parse them afterwards
  return 401 unless genuine?(headers, body)
  do_once(headers["webhook-id"], body)
  204 # only now: outboxd sends it again until it gets a 2xx
end

server = TCPServer.new("127.0.0.1", Integer(ENV.fetch("PORT")))
loop do
  Thread.new(server.accept) do |connection|
    connection.write("HTTP/1.1 #{status_for(connection)} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
  ensure
    connection.close
  end
end
