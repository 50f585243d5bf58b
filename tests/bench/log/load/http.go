package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A log that is full says so with 503 or 429; Tessera's own binary with 500.
const backOff = 5 * time.Millisecond

func newClient(flight int) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: flight + 1, DisableCompression: true}
	return &http.Client{Transport: transport, Timeout: callTime}
}

func get(client *http.Client, url string) ([]byte, error) {
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %.100q", url, answer.Status, body)
	}
	return body, err
}

func readSize(client *http.Client, url string) (uint64, error) {
	note, err := get(client, url+"/checkpoint")
	if err != nil {
		return 0, err
	}
	lines := strings.SplitN(string(note), "\n", 3)
	if len(lines) < 3 {
		return 0, fmt.Errorf("this is no checkpoint: %.100q", note)
	}
	return strconv.ParseUint(lines[1], 10, 64)
}

// httpAdd: POST /add, until a checkpoint was read that covers the entry. One writer alone reads it itself, at once.
func httpAdd(o options) (*report, error) {
	var bodies [][]byte
	if o.bodies != "" {
		data, err := os.ReadFile(o.bodies)
		if err != nil {
			return nil, err
		}
		if bodies, err = split(data); err != nil {
			return nil, err
		}
	}
	client := newClient(o.flight)
	var pushed atomic.Int64
	start := time.Now()
	w, err := startWatch(start, o.poll, func() (uint64, error) { return readSize(client, o.target) })
	if err != nil {
		return nil, err
	}
	samples, err := workers(o, start, func(_ int, number int64) (sample, error) {
		body := made(o, number)
		if bodies != nil {
			if number >= int64(len(bodies)) {
				return sample{}, errNoMore
			}
			body = bodies[number]
		}
		index, err := add(client, o.target, body, &pushed)
		if err != nil || o.flight > 1 {
			return sample{entries: 1, needs: index + 1}, err
		}
		size, err := readSize(client, o.target)
		if err == nil {
			w.saw(seen{time.Since(start), size})
		}
		return sample{entries: 1, needs: index + 1}, err
	})
	if err != nil {
		return nil, err
	}
	var newest uint64
	indexes := map[uint64]bool{}
	for _, one := range samples {
		newest = max(newest, one.needs)
		indexes[one.needs] = true
	}
	if len(indexes) != len(samples) {
		return nil, fmt.Errorf("%d entries got %d indexes", len(samples), len(indexes))
	}
	if err := w.drain(newest); err != nil {
		return nil, err
	}
	result, err := summarise(samples, w)
	if err == nil {
		result.PushedBack = pushed.Load()
	}
	return result, err
}

func add(client *http.Client, url string, body []byte, pushed *atomic.Int64) (uint64, error) {
	deadline := time.Now().Add(callTime)
	for {
		answer, err := client.Post(url+"/add", "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return 0, err
		}
		switch answer.StatusCode {
		case http.StatusOK:
			return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError:
			if answer.StatusCode == http.StatusInternalServerError && !bytes.Contains(text, []byte("pushback")) {
				return 0, fmt.Errorf("add: %s %.200q", answer.Status, text)
			}
			pushed.Add(1)
			if time.Now().After(deadline) {
				return 0, fmt.Errorf("add: pushed back for %s", callTime)
			}
			time.Sleep(backOff)
		default:
			return 0, fmt.Errorf("add: %s %.200q", answer.Status, text)
		}
	}
}

// httpRead: full level-0 tiles and entry bundles, or inclusion proofs as JSON, of random places in the log as it is now.
func httpRead(o options) (*report, error) {
	client := newClient(o.flight)
	size, err := readSize(client, o.target)
	if err != nil {
		return nil, err
	}
	if size < 256 {
		return nil, fmt.Errorf("a log of %d entries has no full tile", size)
	}
	samples, err := workers(o, time.Now(), func(_ int, number int64) (sample, error) {
		url := fmt.Sprintf("%s/proof/inclusion?index=%d&size=%d", o.target, rand.Int63n(int64(size)), size)
		if o.mode == "tiles" {
			kind := []string{"0", "entries"}[number%2]
			url = fmt.Sprintf("%s/tile/%s/%s", o.target, kind, tilePath(rand.Int63n(int64(size)/256)))
		}
		body, err := get(client, url)
		if err == nil && len(body) == 0 {
			err = fmt.Errorf("%s is empty", url)
		}
		return sample{entries: 1}, err
	})
	if err != nil {
		return nil, err
	}
	return summarise(samples, nil)
}

func tilePath(number int64) string {
	path := fmt.Sprintf("%03d", number%1000)
	for number /= 1000; number > 0; number /= 1000 {
		path = fmt.Sprintf("x%03d/%s", number%1000, path)
	}
	return path
}
