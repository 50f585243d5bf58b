package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

var hasher = rfc6962.DefaultHasher

// hashSize is the number of bytes of every hash.
const hashSize = 32

// tileHeight is the number of tree levels in a tile (tlog-tiles).
const tileHeight = 8

// check reads the whole log. It returns false when it could not go on, so that nothing can be built on it.
func (l *Log) check(report *Report) bool {
	signed, err := os.ReadFile(filepath.Join(l.folder, "checkpoint"))
	if err != nil {
		report.Add("checkpoint", "checkpoint", "%v", err)
		return false
	}
	if l.head, err = l.openHead(signed); err != nil {
		report.Add("checkpoint", "checkpoint", "%v", err)
		return false
	}
	report.Size = l.head.size
	if !l.readEntries(report) {
		return false
	}
	root := l.roots[l.head.size]
	report.Root = hex.EncodeToString(root)
	if !bytes.Equal(root, l.head.root) {
		report.Add("root", "checkpoint", "the entries give the root %x, the checkpoint says %x", root, l.head.root)
	}
	l.checkTiles(report)
	l.checkInclusion(report)
	l.checkConsistency(report)
	return true
}

// readEntries grows the tree from the entry bundles: leaf hashes, all roots, all rows that tiles hold.
func (l *Log) readEntries(report *Report) bool {
	tree := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
	l.roots = [][]byte{hasher.EmptyRoot()}
	visit := func(id compact.NodeID, hash []byte) {
		if id.Level%tileHeight == 0 {
			level := int(id.Level / tileHeight)
			for len(l.rows) <= level {
				l.rows = append(l.rows, nil)
			}
			l.rows[level] = append(l.rows[level], hash)
		}
	}
	grow := func(entry []byte) error {
		leaf := hasher.HashLeaf(entry)
		if err := tree.Append(leaf, visit); err != nil {
			return err
		}
		root, err := tree.GetRootHash(nil)
		l.entries, l.leaves, l.roots = append(l.entries, entry), append(l.leaves, leaf), append(l.roots, root)
		return err
	}
	for index := uint64(0); index*width < l.head.size; index++ {
		count := bundleCount(index, l.head.size)
		found, err := l.read("entries", index, count)
		rest := found.data
		for number := 0; err == nil && number < count; number++ {
			var entry []byte
			if entry, rest, err = take(rest, 2); err == nil {
				err = grow(entry)
			}
		}
		if err == nil {
			err = found.end(rest, count)
		}
		if err != nil {
			report.Add("entries", found.path, "%v", err)
			return false
		}
	}
	return true
}

// checkTiles compares every tile with what the entries give, and keeps what the tiles say for the proofs.
func (l *Log) checkTiles(report *Report) {
	l.nodes = &nodes{known: map[compact.NodeID][]byte{}}
	for level, row := range l.rows {
		for index := uint64(0); index*width < uint64(len(row)); index++ {
			count := bundleCount(index, uint64(len(row)))
			found, err := l.read(strconv.Itoa(level), index, count)
			report.Tiles++
			if want := count * hashSize; err == nil && (len(found.data) < want || found.exact && len(found.data) > want) {
				err = fmt.Errorf("%d bytes instead of %d", len(found.data), want)
			}
			if err != nil {
				report.Add("tile", found.path, "%v", err)
				continue
			}
			for number := 0; number < count; number++ {
				hash := found.data[number*hashSize : (number+1)*hashSize]
				place := index*width + uint64(number)
				l.nodes.known[compact.NewNodeID(uint(level*tileHeight), place)] = hash
				if want := row[place]; !bytes.Equal(hash, want) {
					report.Add("tile", found.path, "hash %d is %x, the entries give %x", number, hash, want)
				}
			}
		}
	}
}

// checkInclusion proves every entry out of the tiles, against the signed root.
func (l *Log) checkInclusion(report *Report) {
	for index, leaf := range l.leaves {
		hashes, err := l.nodes.prove(proof.Inclusion(uint64(index), l.head.size))
		if err == nil {
			err = proof.VerifyInclusion(hasher, uint64(index), l.head.size, leaf, hashes, l.head.root)
		}
		report.Inclusion++
		if err != nil {
			report.Add("inclusion", fmt.Sprintf("index %d", index), "%s", short(err))
		}
	}
}

// checkConsistency proves that the log had grown from every smaller size, out of the tiles, against the signed root.
func (l *Log) checkConsistency(report *Report) {
	for size := uint64(1); size <= l.head.size; size++ {
		hashes, err := l.nodes.prove(proof.Consistency(size, l.head.size))
		if err == nil {
			err = proof.VerifyConsistency(hasher, size, l.head.size, hashes, l.roots[size], l.head.root)
		}
		report.Consistency++
		if err != nil {
			report.Add("consistency", fmt.Sprintf("from size %d", size), "%s", short(err))
		}
	}
}

// nodes hands out hashes of complete subtrees from what tiles hold, which is every eighth level.
type nodes struct {
	known map[compact.NodeID][]byte
}

func (n *nodes) prove(wanted proof.Nodes, err error) ([][]byte, error) {
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, 0, len(wanted.IDs))
	for _, id := range wanted.IDs {
		hash, err := n.get(id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return wanted.Rehash(hashes, hasher.HashChildren)
}

func (n *nodes) get(id compact.NodeID) ([]byte, error) {
	if hash, ok := n.known[id]; ok {
		return hash, nil
	}
	if id.Level%tileHeight == 0 {
		return nil, fmt.Errorf("no tile holds node %d of level %d", id.Index, id.Level)
	}
	left, err := n.get(compact.NewNodeID(id.Level-1, id.Index*2))
	if err != nil {
		return nil, err
	}
	right, err := n.get(compact.NewNodeID(id.Level-1, id.Index*2+1))
	if err != nil {
		return nil, err
	}
	n.known[id] = hasher.HashChildren(left, right)
	return n.known[id], nil
}

// short is an error in one line: the library prints the bytes of both roots as lists of numbers.
func short(err error) string {
	if mismatch, ok := err.(proof.RootMismatchError); ok {
		return fmt.Sprintf("leads to %x instead of %x", mismatch.CalculatedRoot, mismatch.ExpectedRoot)
	}
	return err.Error()
}
