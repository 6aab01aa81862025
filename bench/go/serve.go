// Go's servers, and the one for row H2: the chapter's middleware around a handler that answers at once.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// serve prints the port of the named server and serves until the standard input ends.
func serve(name string) {
	servers := map[string]func() http.Handler{"chapter": chapter, "waiting": waitingServer}
	handler, known := servers[name]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown server %s\n", name)
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	err = http.Serve(listener, handler())
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}

func chapter() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", processed)
	return withRequestID(withTimeoutOf(5*time.Second, mux))
}

// A distinct type, as the chapter advises.
type requestIDKey struct{}

func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestID := fmt.Sprintf("req-%d", time.Now().UnixNano())
		ctx := context.WithValue(r.Context(), requestIDKey{}, requestID)
		w.Header().Set("X-Request-ID", requestID)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func withTimeoutOf(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		done := make(chan struct{})
		go func() {
			next.ServeHTTP(w, r.WithContext(ctx))
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			w.WriteHeader(http.StatusGatewayTimeout)
			w.Write([]byte("Request timed out"))
		}
	})
}

func processed(w http.ResponseWriter, r *http.Request) {
	requestID, ok := r.Context().Value(requestIDKey{}).(string)
	if !ok {
		requestID = "unknown"
	}
	fmt.Fprintf(w, "Request processed successfully. Request ID: %s", requestID)
}
