// Command load puts one kind of load on one log for some seconds, and prints what came of it as one line of JSON.
//
// It is the same for both sides of a comparison. An entry counts as integrated when this program has read a root or
// checkpoint that covers it, and every run waits for that before it ends.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	mode, target, bodies, unique string
	tree                         int64
	flight, size, batch, limit   int
	seconds, poll                time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.mode, "mode", "", "queue, calls, sequenced, proofs, by-hash, http, get-proofs or tiles")
	flag.StringVar(&o.target, "target", "", "host:port of gRPC, or the URL of the log without its last slash")
	flag.StringVar(&o.bodies, "bodies", "", "file of entries, each after its length in four bytes; else they are made")
	flag.StringVar(&o.unique, "unique", "", "what makes these entries different from those of other runs")
	flag.Int64Var(&o.tree, "tree", 0, "id of the tree (gRPC)")
	flag.IntVar(&o.flight, "flight", 1, "requests in flight")
	flag.IntVar(&o.size, "size", 1024, "bytes of an entry that is made")
	flag.IntVar(&o.batch, "batch", 1000, "leaves of one AddSequencedLeaves")
	flag.IntVar(&o.limit, "limit", 0, "stop after about so many entries; 0: by time only")
	flag.DurationVar(&o.seconds, "seconds", 5*time.Second, "how long")
	flag.DurationVar(&o.poll, "poll", 10*time.Millisecond, "pause between two looks at the root")
	flag.Parse()
	modes := map[string]func(options) (*report, error){
		"queue": queue, "calls": calls, "sequenced": sequenced, "proofs": proofs, "by-hash": proofs,
		"http": httpAdd, "get-proofs": httpRead, "tiles": httpRead,
	}
	run, known := modes[o.mode]
	if !known {
		fail(fmt.Errorf("unknown mode %q", o.mode))
	}
	result, err := run(o)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}
