package main

import (
	"fmt"
	"math"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// A sample is one request that was answered: begun and answered in time since the start, how many entries it carried,
// and the tree size that covers them, if the answer said so (else 0).
type sample struct {
	begun, answered time.Duration
	entries         int
	needs           uint64
}

// A seen is a tree size that was read, and when its answer was there.
type seen struct {
	at   time.Duration
	size uint64
}

// Latencies are in milliseconds.
type latencies struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

type report struct {
	Entries    int        `json:"entries"`
	Seconds    float64    `json:"seconds"`
	Rate       float64    `json:"rate"`
	Answered   latencies  `json:"answered"`
	Integrated *latencies `json:"integrated,omitempty"`
	PushedBack int64      `json:"pushed_back"`
	// How many entries were answered in the first and in the last quarter of the time, and how long those quarters were.
	First quarter `json:"first"`
	Last  quarter `json:"last"`
}

type quarter struct {
	Entries int     `json:"entries"`
	Seconds float64 `json:"seconds"`
	P99     float64 `json:"p99"`
}

// A watch reads the size of the tree again and again.
type watch struct {
	mutex sync.Mutex
	sizes []seen
	base  uint64
	stop  chan struct{}
	done  chan error
}

const drainTime = 60 * time.Second

func startWatch(start time.Time, poll time.Duration, read func() (uint64, error)) (*watch, error) {
	base, err := read()
	if err != nil {
		return nil, fmt.Errorf("reading the root: %w", err)
	}
	w := &watch{base: base, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		for {
			select {
			case <-w.stop:
				w.done <- nil
				return
			default:
			}
			size, err := read()
			if err != nil {
				w.done <- fmt.Errorf("reading the root: %w", err)
				return
			}
			w.saw(seen{time.Since(start), size})
			time.Sleep(poll)
		}
	}()
	return w, nil
}

func (w *watch) saw(one seen) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.sizes) == 0 || one.size > w.sizes[len(w.sizes)-1].size {
		w.sizes = append(w.sizes, one)
	}
}

func (w *watch) newest() uint64 {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.sizes) == 0 {
		return w.base
	}
	return w.sizes[len(w.sizes)-1].size
}

// drain waits until the tree has `size` leaves, and ends the watch.
func (w *watch) drain(size uint64) error {
	deadline := time.Now().Add(drainTime)
	for w.newest() < size {
		select {
		case err := <-w.done:
			return err
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the tree has %d leaves after %s, not %d", w.newest(), drainTime, size)
		}
		time.Sleep(time.Millisecond)
	}
	close(w.stop)
	return <-w.done
}

// workers calls `one` in `flight` goroutines until the time is over; the samples in the order of their answers.
func workers(o options, start time.Time, one func(worker int, number int64) (sample, error)) ([]sample, error) {
	var next, taken atomic.Int64
	var group sync.WaitGroup
	found := make([][]sample, o.flight)
	failures := make([]error, o.flight)
	for worker := 0; worker < o.flight; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Since(start) < o.seconds && (o.limit == 0 || taken.Load() < int64(o.limit)) {
				begun := time.Since(start)
				got, err := one(worker, next.Add(1)-1)
				if err == errNoMore {
					return
				}
				if err != nil {
					failures[worker] = err
					return
				}
				got.begun, got.answered = begun, time.Since(start)
				taken.Add(int64(got.entries))
				found[worker] = append(found[worker], got)
			}
		}()
	}
	group.Wait()
	var all []sample
	for worker, samples := range found {
		if failures[worker] != nil {
			return nil, failures[worker]
		}
		all = append(all, samples...)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].answered < all[b].answered })
	return all, nil
}

var errNoMore = fmt.Errorf("there are no more entries")

// summarise turns samples into figures. With a watch: the rate is of integrated entries, until the last one was seen.
func summarise(samples []sample, w *watch) (*report, error) {
	if len(samples) == 0 {
		return nil, fmt.Errorf("nothing was answered in this time")
	}
	r := &report{}
	var answered, integrated []float64
	var at int
	ended := samples[len(samples)-1].answered
	var sizes []seen
	var covered uint64
	if w != nil {
		sizes, covered = w.sizes, w.base
	}
	for _, one := range samples {
		r.Entries += one.entries
		answered = append(answered, milliseconds(one.answered-one.begun))
		if w == nil {
			continue
		}
		// Without an index in the answer: entries are integrated in the order of their answers, nearly.
		covered += uint64(one.entries)
		needs := one.needs
		if needs == 0 {
			needs = covered
			for at < len(sizes) && sizes[at].size < needs {
				at++
			}
		} else {
			at = sort.Search(len(sizes), func(i int) bool { return sizes[i].size >= needs })
		}
		if at == len(sizes) {
			return nil, fmt.Errorf("an entry was not seen integrated")
		}
		integrated = append(integrated, math.Max(0, milliseconds(sizes[at].at-one.begun)))
		ended = max(ended, sizes[at].at)
	}
	r.Seconds = ended.Seconds()
	r.Rate = float64(r.Entries) / r.Seconds
	r.Answered = percentiles(answered)
	if w != nil {
		found := percentiles(integrated)
		r.Integrated = &found
	}
	last := samples[len(samples)-1].answered
	r.First, r.Last = quarterOf(samples, 0, last/4), quarterOf(samples, last-last/4, last)
	return r, nil
}

func quarterOf(samples []sample, from, to time.Duration) quarter {
	q := quarter{Seconds: (to - from).Seconds()}
	var answered []float64
	for _, one := range samples {
		if one.answered > from && one.answered <= to {
			q.Entries += one.entries
			answered = append(answered, milliseconds(one.answered-one.begun))
		}
	}
	if len(answered) > 0 {
		q.P99 = percentiles(answered).P99
	}
	return q
}

func percentiles(values []float64) latencies {
	sort.Float64s(values)
	rank := func(share float64) float64 { return values[max(0, int(math.Ceil(share*float64(len(values))))-1)] }
	return latencies{rank(0.5), rank(0.99)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
