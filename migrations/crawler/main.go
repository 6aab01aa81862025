// Crawler answers GET /crawl?url=URL with one line for each page that it finds: its status and its address. It begins with the
// page at URL, and follows links to the same host.
//
// Usage: crawler [ADDRESS]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	workers      = 4
	maxPages     = 20
	maxBody      = 1 << 20
	pageTimeout  = time.Second
	crawlTimeout = 10 * time.Second
	drainTime    = 2 * time.Second
)

type crawler struct {
	client  *http.Client
	limiter *rate.Limiter
}

type page struct {
	address string
	status  int
	links   []string
}

// fetch returns the page at address.
func (c *crawler) fetch(ctx context.Context, address string) (page, error) {
	if err := c.limiter.Wait(ctx); err != nil {
		return page{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return page{}, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return page{}, err
	}
	return page{address, response.StatusCode, links(request.URL, string(body))}, nil
}

// links returns the addresses on the same host that a page links to.
func links(base *url.URL, body string) []string {
	var found []string
	for _, rest := range strings.Split(body, `href="`)[1:] {
		reference, _, _ := strings.Cut(rest, `"`)
		if link, err := base.Parse(reference); err == nil && link.Host == base.Host {
			found = append(found, link.String())
		}
	}
	return found
}

// crawl returns the pages that can be reached from start. All pages at the same distance from start are fetched concurrently.
func (c *crawler) crawl(ctx context.Context, start string) ([]page, error) {
	var crawled []page
	seen := map[string]bool{start: true}
	for level := []string{start}; len(level) > 0; {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(workers)
		pages := make([]page, len(level))
		for i, address := range level {
			group.Go(func() (err error) {
				pages[i], err = c.fetch(ctx, address)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		level = nil
		for _, page := range pages {
			for _, link := range page.links {
				if !seen[link] && len(seen) < maxPages {
					seen[link] = true
					level = append(level, link)
				}
			}
		}
		crawled = append(crawled, pages...)
	}
	return crawled, nil
}

// ServeHTTP answers GET /crawl.
func (c *crawler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, err := url.Parse(r.URL.Query().Get("url"))
	if err != nil || start.Host == "" {
		http.Error(w, "the parameter url is missing or malformed", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), crawlTimeout)
	defer cancel()
	pages, err := c.crawl(ctx, start.String())
	if err != nil {
		http.Error(w, err.Error(), status(err))
		return
	}
	for _, page := range pages {
		fmt.Fprintln(w, page.status, page.address)
	}
}

// status returns the status of the answer to a crawl that failed.
func status(err error) int {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}

func main() {
	address := "127.0.0.1:8080"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	stop, restoreSignals := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	crawls, cancelCrawls := context.WithCancel(context.Background())
	defer cancelCrawls()

	crawler := &crawler{&http.Client{}, rate.NewLimiter(50, 10)}
	mux := http.NewServeMux()
	mux.Handle("GET /crawl", crawler)
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return crawls }}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	go server.Serve(listener)

	<-stop.Done()
	restoreSignals() // the second Ctrl-C ends the process
	if shutdown(server, drainTime) != nil {
		cancelCrawls()
		shutdown(server, time.Second)
	}
}

// shutdown waits until all requests have been answered, for at most limit.
func shutdown(server *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return server.Shutdown(ctx)
}
