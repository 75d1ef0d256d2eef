<?php
// PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt sh -c 'php -S 127.0.0.1:$PORT receiver.php'
declare(strict_types=1);

const TOLERANCE = 300; // seconds

/** Whether one of the signatures is ours, and of the last five minutes. */
function is_genuine(string $secret, string $id, string $timestamp, string $signatures, string $body): bool
{
    if (!preg_match('/\A[0-9]{1,12}\z/', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $key = base64_decode(preg_replace('/\Awhsec_/', '', $secret), true);
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // Several while a secret is rotated; each is compared in constant time.
    foreach (explode(' ', $signatures) as $candidate) {
        if (hash_equals($expected, $candidate)) {
            return true;
        }
    }
    return false;
}

function do_once(string $id, string $body): bool
{
    // With a database: insert the id into a table with a unique key, in the transaction that does
    // the work. Here a file has the ids.
    $done = fopen(getenv('DONE_FILE'), 'a+');
    if (!$done || !flock($done, LOCK_EX)) {
        return false;
    }
    rewind($done);
    $ok = in_array($id, explode("\n", stream_get_contents($done)), true);
    if (!$ok) {
        // YOUR WORK with $body, in the same transaction.
        $ok = fwrite($done, "$id\n") && fflush($done) && fsync($done);
    }
    fclose($done);
    return $ok;
}

$body = file_get_contents('php://input'); // the bytes as they came; parse them afterwards
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
if (!is_genuine(getenv('WEBHOOK_SECRET'), $id, $timestamp, $signatures, $body)) {
    http_response_code(401);
} else {
    // Only when it is done: outboxd sends it again until it gets a 2xx.
    http_response_code(do_once($id, $body) ? 204 : 500);
}
