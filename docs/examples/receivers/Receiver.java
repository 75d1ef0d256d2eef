// PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt java Receiver.java
import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HashSet;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final long TOLERANCE = 300; // seconds
    static final int LARGEST_BODY = 2 << 20;

    static byte[] key;
    static FileChannel doneFile;
    static Set<String> done;

    /** Whether one of the signatures is ours, and of the last five minutes. */
    static boolean isGenuine(Headers headers, byte[] body) throws GeneralSecurityException {
        String id = Objects.toString(headers.getFirst("webhook-id"), "");
        String timestamp = Objects.toString(headers.getFirst("webhook-timestamp"), "");
        String signatures = Objects.toString(headers.getFirst("webhook-signature"), "");
        if (!timestamp.matches("[0-9]{1,12}")) return false;
        long age = System.currentTimeMillis() / 1000 - Long.parseLong(timestamp);
        if (Math.abs(age) > TOLERANCE) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        String expected = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
        byte[] wanted = expected.getBytes(StandardCharsets.UTF_8);
        // Several while a secret is rotated; each is compared in constant time.
        for (String candidate : signatures.split(" ")) {
            if (MessageDigest.isEqual(candidate.getBytes(StandardCharsets.UTF_8), wanted)) return true;
        }
        return false;
    }

    static synchronized void doOnce(String id, byte[] body) throws IOException {
        // With a database: insert the id into a table with a unique key, in the transaction that does
        // the work. Here a file has the ids.
        if (done.contains(id)) return;
        // YOUR WORK with `body`, in the same transaction.
        doneFile.write(ByteBuffer.wrap((id + "\n").getBytes(StandardCharsets.UTF_8)));
        doneFile.force(true);
        done.add(id);
    }

    static void receive(HttpExchange exchange) throws IOException {
        int status = 500;
        try (exchange) {
            // The bytes as they came; parse them afterwards.
            byte[] body = exchange.getRequestBody().readNBytes(LARGEST_BODY + 1);
            if (body.length > LARGEST_BODY) {
                status = 413;
            } else if (!isGenuine(exchange.getRequestHeaders(), body)) {
                status = 401;
            } else {
                doOnce(exchange.getRequestHeaders().getFirst("webhook-id"), body);
                status = 204; // only now: outboxd sends it again until it gets a 2xx
            }
            exchange.sendResponseHeaders(status, -1);
        } catch (GeneralSecurityException error) {
            exchange.sendResponseHeaders(500, -1);
        }
    }

    public static void main(String[] args) throws IOException {
        key = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));
        Path path = Path.of(System.getenv("DONE_FILE"));
        doneFile = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        done = new HashSet<>(Files.readAllLines(path));
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", Receiver::receive);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }
}
