package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	logproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
)

// proofSuffix is how files with a C2SP tlog-proof are called; every other file given beside a log is a proof bundle.
const proofSuffix = ".tlog-proof"

// checkTLogProof checks a tlog-proof: its form to the byte, its checkpoint, and the entry at its index of this log,
// rebuilt from the extra data when there is some.
func (l *Log) checkTLogProof(path string, report *Report) {
	name := filepath.Base(path)
	report.TLogProofs++
	data, err := os.ReadFile(path)
	if err != nil {
		report.Add("tlog-proof", name, "%v", err)
		return
	}
	var parsed logproof.TLogProof
	if err := parsed.Unmarshal(data); err != nil {
		report.Add("tlog-proof", name, "%v", err)
		return
	}
	if !bytes.Equal(parsed.Marshal(), data) {
		report.Add("tlog-proof", name, "other bytes when written again")
	}
	at, err := l.openHead(parsed.Checkpoint)
	if err != nil {
		report.Add("tlog-proof", name, "its checkpoint: %v", err)
		return
	}
	if at.size > l.head.size || !bytes.Equal(at.root, l.roots[at.size]) {
		report.Add("tlog-proof", name, "its checkpoint of size %d is not one of this log", at.size)
		return
	}
	if parsed.Index >= at.size {
		report.Add("tlog-proof", name, "index %d is not in its tree of size %d", parsed.Index, at.size)
		return
	}
	leaf := l.entries[parsed.Index]
	if parsed.ExtraData != nil {
		carried, err := packedLeaf(parsed.ExtraData)
		if err != nil {
			report.Add("tlog-proof", name, "its extra data: %v", err)
		} else if !bytes.Equal(carried, leaf) {
			report.Add("tlog-proof", name, "does not carry the entry at index %d of this log", parsed.Index)
		}
	}
	hashes := make([][]byte, len(parsed.Hashes))
	for number := range parsed.Hashes {
		hashes[number] = parsed.Hashes[number][:]
	}
	if err := proof.VerifyInclusion(hasher, parsed.Index, at.size, hasher.HashLeaf(leaf), hashes, at.root); err != nil {
		report.Add("tlog-proof", name, "inclusion at index %d: %s", parsed.Index, short(err))
	}
}

// packedLeaf rebuilds the leaf of one packed entry (log/FORMATS.md, 3).
func packedLeaf(packed []byte) ([]byte, error) {
	text, rest, err := take(packed, 4)
	if err != nil {
		return nil, err
	}
	key, rest, err := take(rest, 2)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes after its packed entry", len(rest))
	}
	return leafOf(text, key)
}
