// PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tolerance   = 5 * time.Minute
	largestBody = 2 << 20
)

var (
	key      []byte
	mutex    sync.Mutex
	doneFile *os.File
	done     = map[string]bool{}
)

// isGenuine says whether one of the signatures is ours, and of the last five minutes.
func isGenuine(header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	// Several while a secret is rotated; each is compared in constant time.
	for _, candidate := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(candidate), expected) {
			return true
		}
	}
	return false
}

func doOnce(id string, body []byte) error {
	// With a database: insert the id into a table with a unique key, in the transaction that does
	// the work. Here a file has the ids.
	mutex.Lock()
	defer mutex.Unlock()
	if done[id] {
		return nil
	}
	// YOUR WORK with `body`, in the same transaction.
	if _, err := doneFile.WriteString(id + "\n"); err != nil {
		return err
	}
	if err := doneFile.Sync(); err != nil {
		return err
	}
	done[id] = true
	return nil
}

func receive(w http.ResponseWriter, r *http.Request) {
	// The bytes as they came; parse them afterwards.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	} else if !isGenuine(r.Header, body) {
		w.WriteHeader(http.StatusUnauthorized)
	} else if err := doOnce(r.Header.Get("webhook-id"), body); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	} else {
		w.WriteHeader(http.StatusNoContent) // only now: outboxd sends it again until it gets a 2xx
	}
}

func main() {
	var err error
	key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil {
		log.Fatal(err)
	}
	doneFile, err = os.OpenFile(os.Getenv("DONE_FILE"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(doneFile)
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range strings.Fields(string(text)) {
		done[id] = true
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(receive)))
}
