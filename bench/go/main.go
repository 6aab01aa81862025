// Go's side of the rows against it. Each argument names a measurement, whose figures are printed as "name value" lines:
// times in nanoseconds, sizes in bytes. ../src/rows describes the rows.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The duration of a sample, in which the garbage collector takes its usual share.
const sampleTime = 5 * time.Millisecond

// Set by -test: every measurement once, with tiny sizes.
var test bool

func main() {
	measurements := map[string]func(name string){
		"C12.without": func(name string) { printFigure(name, bytesPerChild(withCancel)) },
		"C12.with":    func(name string) { printFigure(name, bytesPerChild(withTimeout)) },
		"C15":         func(name string) { printFigure(name, perCall(timeoutAndCancel)) },
		"C16.1":       func(name string) { printFigure(name, perCall(findValue(1))) },
		"C16.10":      func(name string) { printFigure(name, perCall(findValue(10))) },
		"C16.100":     func(name string) { printFigure(name, perCall(findValue(100))) },
		"C16.absent":  func(name string) { printFigure(name, perCall(findValue(0))) },
		"C18":         func(name string) { printFigure(name, lastOneLate()) },
		"C19":         lateness,
		"C20.1":       func(name string) { printFigure(name, perCall(errOnDone)) },
		"C20.2":       func(name string) { printFigure(name, perCall(errOnDoneTwice)) },
	}
	if len(os.Args) == 3 && os.Args[1] == "-serve" {
		serve(os.Args[2])
	}
	for _, argument := range os.Args[1:] {
		if argument == "-test" {
			test = true
			continue
		}
		measure, known := measurements[argument]
		if !known {
			fmt.Fprintf(os.Stderr, "unknown measurement %s\n", argument)
			os.Exit(2)
		}
		measure(argument)
	}
}

func printFigure(name string, value float64) {
	fmt.Printf("%s %g\n", name, value)
}

// size returns full, or tiny under -test.
func size[T any](full, tiny T) T {
	if test {
		return tiny
	}
	return full
}

// perCall returns the cost of one call: the median of several samples, because the garbage collector does not run in each.
// It first finds a suitable number of calls, which also warms them up. sample makes the given number of calls and returns
// their duration.
func perCall(sample func(iterations int) time.Duration) float64 {
	iterations := 64
	for !test {
		taken := undisturbed(sample, iterations)
		if taken*2 >= sampleTime {
			iterations = int(float64(iterations) * float64(sampleTime) / float64(taken))
			break
		}
		iterations *= 2
	}
	samples := make([]float64, size(5, 1))
	for i := range samples {
		samples[i] = float64(undisturbed(sample, iterations)) / float64(iterations)
	}
	sort.Float64s(samples)
	return samples[len(samples)/2]
}

// The longest time for which a disturbed sample is repeated.
const patience = 50 * time.Millisecond

// undisturbed takes a sample, and repeats it while it shared its core with another program. Our side does the same.
func undisturbed(sample func(iterations int) time.Duration, iterations int) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for {
		before := preemptions()
		taken := sample(iterations)
		if preemptions() == before || time.Since(start) > patience {
			return taken
		}
	}
}

// preemptions returns the number of involuntary context switches of this thread. It is constant on systems other than Linux.
func preemptions() string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return ""
	}
	_, count, _ := strings.Cut(string(status), "nonvoluntary_ctxt_switches:")
	return count
}

func withCancel(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(parent)
}

func withTimeout(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(parent, time.Hour)
}

// C12. The slices of the children are not counted.
func bytesPerChild(derive func(context.Context) (context.Context, context.CancelFunc)) float64 {
	count := size(100_000, 1000)
	parent, cancelParent := context.WithCancel(context.Background())
	children := make([]context.Context, count)
	cancels := make([]context.CancelFunc, count)
	before := liveBytes()
	for i := range children {
		children[i], cancels[i] = derive(parent)
	}
	after := liveBytes()
	runtime.KeepAlive(children)
	runtime.KeepAlive(cancels)
	cancelParent()
	return float64(after-before) / float64(count)
}

func liveBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// C15.
func timeoutAndCancel(iterations int) time.Duration {
	parent, cancelParent := context.WithCancel(context.Background())
	defer cancelParent()
	start := time.Now()
	for range iterations {
		_, cancel := context.WithTimeout(parent, time.Hour)
		cancel()
	}
	return time.Since(start)
}

// key returns a key of a distinct type for every number: an empty array of that length.
func key(number int) any {
	return reflect.Zero(reflect.ArrayOf(number, reflect.TypeFor[struct{}]())).Interface()
}

// C16. The value at depth 1 is that of the last context.
func findValue(depth int) func(iterations int) time.Duration {
	ctx := context.Background()
	for number := 100; number >= 1; number-- {
		ctx = context.WithValue(ctx, key(number), number)
	}
	wanted := key(depth)
	return func(iterations int) time.Duration {
		start := time.Now()
		var found any
		for range iterations {
			found = ctx.Value(wanted)
		}
		taken := time.Since(start)
		if present := found != nil; present != (depth > 0) {
			panic("the lookup is wrong")
		}
		return taken
	}
}

// C18.
func lastOneLate() float64 {
	count := size(1_000_000, 1000)
	ahead := size(2*time.Second, 50*time.Millisecond)
	parent, cancelParent := context.WithCancel(context.Background())
	defer cancelParent()
	children := make([]context.Context, count)
	cancels := make([]context.CancelFunc, count)
	deadline := time.Now().Add(ahead)
	for i := range children {
		children[i], cancels[i] = context.WithDeadline(parent, deadline)
	}
	for _, child := range children {
		<-child.Done()
	}
	late := time.Since(deadline)
	runtime.KeepAlive(cancels)
	return float64(late)
}

// C19.
func lateness(name string) {
	timeouts := size(200, 3)
	parent, cancelParent := context.WithCancel(context.Background())
	defer cancelParent()
	late := make([]float64, 0, timeouts)
	var state uint32
	for range timeouts {
		// The pauses of ../src/rows/timeout.rs.
		state = state*1_664_525 + 1_013_904_223
		until := time.Now().Add(time.Duration(state >> 12 % 1_000_000))
		for time.Now().Before(until) {
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(parent, time.Millisecond)
		<-ctx.Done()
		late = append(late, float64(time.Since(start)-time.Millisecond))
		cancel()
	}
	sort.Float64s(late)
	printFigure(name+".p50", late[len(late)*50/100])
	printFigure(name+".p99", late[len(late)*99/100])
}

func canceled() context.Context {
	parent, cancelParent := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(parent)
	cancel()
	cancelParent()
	return ctx
}

// C20, one thread.
func errOnDone(iterations int) time.Duration {
	ctx := canceled()
	start := time.Now()
	for range iterations {
		if ctx.Err() == nil {
			panic("it is done")
		}
	}
	return time.Since(start)
}

// C20, two threads: the mean of the time of each for its own calls.
func errOnDoneTwice(iterations int) time.Duration {
	const attempts = 32
	var mean, apart time.Duration
	for range attempts {
		mean, apart = errOnDoneOnTwoThreads(iterations)
		// On a busy machine the two threads may run one after the other.
		if apart <= mean/10 {
			break
		}
	}
	return mean
}

func errOnDoneOnTwoThreads(iterations int) (mean, apart time.Duration) {
	const threads = 2
	ctx := canceled()
	var arrived atomic.Int32
	var starts [threads]time.Time
	var taken [threads]time.Duration
	var done sync.WaitGroup
	for thread := range threads {
		done.Go(func() {
			runtime.LockOSThread()
			arrived.Add(1)
			for arrived.Load() < threads {
				runtime.Gosched()
			}
			start := time.Now()
			for range iterations {
				if ctx.Err() == nil {
					panic("it is done")
				}
			}
			taken[thread] = time.Since(start)
			starts[thread] = start
		})
	}
	done.Wait()
	return (taken[0] + taken[1]) / threads, starts[0].Sub(starts[1]).Abs()
}
