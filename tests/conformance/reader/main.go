// Command reader reads a log as an auditor who shares no code with touchplate: the note reader of the Go checksum
// database's client, and the Merkle library that Trillian and Tessera use. It uses no network.
//
// Usage: reader -key VKEY [-envelopes] FOLDER [FILE...]
//
// FOLDER holds a log with the paths of C2SP tlog-tiles (checkpoint, tile/...), each FILE is a proof bundle, or a C2SP
// tlog-proof when its name ends in .tlog-proof. One JSON line per problem goes to stdout, and a last one that says what
// was checked. Exit 0 when nothing is wrong, 1 when something is, 2 when it was called wrongly.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

// shownProblems is how many problems of one kind are written out: one bad tile breaks the proofs of all its leaves.
const shownProblems = 3

// Problem names what is wrong and where.
type Problem struct {
	Check  string `json:"check"` // checkpoint, entries, root, tile, inclusion, consistency, envelopes, bundle, tlog-proof
	Where  string `json:"where"` // the path that is wrong, or the index or size whose proof is
	Detail string `json:"detail"`
}

// Summary says what was checked.
type Summary struct {
	Size        uint64 `json:"size"`
	Root        string `json:"root"` // hex, as recomputed from the entries
	Tiles       int    `json:"tiles"`
	Inclusion   int    `json:"inclusion"`
	Consistency int    `json:"consistency"`
	Envelopes   int    `json:"envelopes"`
	Bundles     int    `json:"bundles"`
	Proofs      int    `json:"proofs"`
	TLogProofs  int    `json:"tlogProofs,omitempty"`
	Problems    int    `json:"problems"`
}

// Report writes problems as they are found.
type Report struct {
	Summary
	out   *json.Encoder
	kinds map[string]int
}

// Add counts a problem, and writes it unless there were enough of its kind.
func (r *Report) Add(check, where, format string, arguments ...any) {
	r.Problems++
	r.kinds[check]++
	if r.kinds[check] <= shownProblems {
		r.write(Problem{check, where, fmt.Sprintf(format, arguments...)})
	}
}

func (r *Report) write(line any) {
	if err := r.out.Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(2)
	}
}

func main() {
	key := flag.String("key", "", "the log's public key, in the text form of signed notes")
	envelopes := flag.Bool("envelopes", false, "check the envelope bundles too")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: reader -key VKEY [-envelopes] FOLDER [FILE...]") }
	flag.Parse()
	if *key == "" || flag.NArg() < 1 {
		flag.Usage()
		os.Exit(2)
	}
	report := &Report{out: json.NewEncoder(os.Stdout), kinds: map[string]int{}}
	log, err := newLog(flag.Arg(0), *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(2)
	}
	if log.check(report) {
		if *envelopes {
			log.checkEnvelopes(report)
		}
		for _, path := range flag.Args()[1:] {
			if strings.HasSuffix(path, proofSuffix) {
				log.checkTLogProof(path, report)
			} else {
				log.checkBundle(path, report)
			}
		}
	}
	report.write(report.Summary)
	if report.Problems > 0 {
		os.Exit(1)
	}
}
