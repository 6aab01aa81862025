// Go's server for rows H4 and H5. ../src/http/waiting.rs describes its paths.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// The timeout of a request, which must not expire.
const longTimeout = 60 * time.Second

// live is the number of handlers and goroutines that wait; endedAt is when it last became zero.
var live, endedAt atomic.Int64

func enter() {
	live.Add(1)
}

func leave() {
	if live.Add(-1) == 0 {
		endedAt.Store(time.Now().UnixNano())
	}
}

func waitingServer() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Hello, world!")
	})
	mux.HandleFunc("/until/{unixNanos}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), longTimeout)
		defer cancel()
		enter()
		defer leave()
		instant, err := strconv.ParseInt(r.PathValue("unixNanos"), 10, 64)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(time.Until(time.Unix(0, instant))):
		case <-ctx.Done():
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), longTimeout)
		defer cancel()
		enter()
		defer leave()
		enter()
		go func() {
			defer leave()
			<-ctx.Done()
		}()
		<-ctx.Done()
	})
	mux.HandleFunc("/live", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, live.Load())
	})
	mux.HandleFunc("/ended", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, endedAt.Load())
	})
	return mux
}
