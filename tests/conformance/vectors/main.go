// Command vectors writes test vectors for Merkle trees: proofs made by the library that Trillian and Tessera use, each
// damaged in every way that its own tests damage proofs, and the library's verdict on each.
//
// Usage: vectors, without arguments. One JSON line per vector goes to stdout. The first tree is the one of eight
// leaves whose hashes the library publishes as constants; the second is larger.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

var (
	hasher = rfc6962.DefaultHasher
	out    = json.NewEncoder(os.Stdout)
	// garbage is a hash that is in no tree.
	garbage = bytes.Repeat([]byte{0xab}, 32)
)

// Leaf is the data of a leaf, and its hash.
type Leaf struct {
	Kind  string `json:"kind"`
	Tree  string `json:"tree"`
	Index int    `json:"index"`
	Data  []byte `json:"data"`
	Hash  []byte `json:"hash"`
}

// Root is the root of the first Size leaves.
type Root struct {
	Kind string `json:"kind"`
	Tree string `json:"tree"`
	Size uint64 `json:"size"`
	Hash []byte `json:"hash"`
}

// Inclusion is a question to a verifier, and the library's answer.
type Inclusion struct {
	Kind     string   `json:"kind"`
	Tree     string   `json:"tree"`
	What     string   `json:"what"` // "as made", or how it was damaged
	Index    uint64   `json:"index"`
	Size     uint64   `json:"size"`
	LeafHash []byte   `json:"leafHash"`
	Root     []byte   `json:"root"`
	Proof    [][]byte `json:"proof"`
	Accepted bool     `json:"accepted"`
}

// Consistency is a question to a verifier, and the library's answer.
type Consistency struct {
	Kind     string   `json:"kind"`
	Tree     string   `json:"tree"`
	What     string   `json:"what"`
	Size1    uint64   `json:"size1"`
	Size2    uint64   `json:"size2"`
	Root1    []byte   `json:"root1"`
	Root2    []byte   `json:"root2"`
	Proof    [][]byte `json:"proof"`
	Accepted bool     `json:"accepted"`
}

func main() {
	log.SetFlags(0)
	small := testonly.New(hasher)
	small.AppendData(testonly.LeafInputs()...)
	for index, data := range testonly.LeafInputs() {
		write(Leaf{"leaf", "constants", index, data, testonly.NodeHashes()[0][index]})
	}
	for size, root := range testonly.RootHashes() {
		write(Root{"root", "constants", uint64(size), root})
	}
	all := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8}
	writeInclusions("constants", small, all, all)
	writeConsistencies("constants", small, all, all)

	sizes := []uint64{9, 15, 16, 17, 31, 33, 64, 65, 127, 129, 255, 256, 257, 511, 1000}
	large := testonly.New(hasher)
	for index := 0; index < 1000; index++ {
		data := fmt.Appendf(nil, "leaf %d", index)
		large.AppendData(data)
		write(Leaf{"leaf", "large", index, data, large.LeafHash(uint64(index))})
	}
	for _, size := range sizes {
		write(Root{"root", "large", size, large.HashAt(size)})
	}
	writeInclusions("large", large, []uint64{0, 1, 7, 8, 16, 63, 64, 128, 254, 255, 256, 510, 999}, sizes)
	writeConsistencies("large", large, sizes, sizes)
}

func writeInclusions(name string, tree *testonly.Tree, indexes, sizes []uint64) {
	for _, size := range sizes {
		for _, index := range indexes {
			if index >= size {
				continue
			}
			hashes, err := tree.InclusionProof(index, size)
			if err != nil {
				log.Fatal(err)
			}
			good := Inclusion{"inclusion", name, "as made", index, size, tree.LeafHash(index), tree.HashAt(size), hashes, false}
			for _, vector := range append([]Inclusion{good}, damagedInclusions(good)...) {
				vector.Accepted = proof.VerifyInclusion(
					hasher, vector.Index, vector.Size, vector.LeafHash, vector.Proof, vector.Root) == nil
				write(vector)
			}
		}
	}
}

func damagedInclusions(good Inclusion) (made []Inclusion) {
	add := func(what string, change func(*Inclusion)) {
		damaged := good
		damaged.What = what
		change(&damaged)
		made = append(made, damaged)
	}
	add("index - 1", func(v *Inclusion) { v.Index-- }) // of 0: the largest number
	add("index + 1", func(v *Inclusion) { v.Index++ })
	add("index ^ 2", func(v *Inclusion) { v.Index ^= 2 })
	add("size - 1", func(v *Inclusion) { v.Size-- })
	add("size + 1", func(v *Inclusion) { v.Size++ })
	add("size * 2", func(v *Inclusion) { v.Size *= 2 })
	add("size / 2", func(v *Inclusion) { v.Size /= 2 })
	add("other leaf hash", func(v *Inclusion) { v.LeafHash = garbage })
	add("leaf hash cut", func(v *Inclusion) { v.LeafHash = v.LeafHash[:31] })
	add("root of an empty tree", func(v *Inclusion) { v.Root = hasher.EmptyRoot() })
	add("other root", func(v *Inclusion) { v.Root = garbage })
	damaged := damagedProofs(good.Proof, good.Root, good.LeafHash)
	for _, what := range slices.Sorted(maps.Keys(damaged)) {
		add(what, func(v *Inclusion) { v.Proof = damaged[what] })
	}
	return made
}

func writeConsistencies(name string, tree *testonly.Tree, firsts, seconds []uint64) {
	for _, size2 := range seconds {
		for _, size1 := range firsts {
			if size1 > size2 {
				continue
			}
			hashes := [][]byte{}
			if size1 > 0 {
				var err error
				if hashes, err = tree.ConsistencyProof(size1, size2); err != nil {
					log.Fatal(err)
				}
			}
			good := Consistency{
				"consistency", name, "as made", size1, size2, tree.HashAt(size1), tree.HashAt(size2), hashes, false}
			for _, vector := range append([]Consistency{good}, damagedConsistencies(good)...) {
				vector.Accepted = proof.VerifyConsistency(
					hasher, vector.Size1, vector.Size2, vector.Proof, vector.Root1, vector.Root2) == nil
				write(vector)
			}
		}
	}
}

func damagedConsistencies(good Consistency) (made []Consistency) {
	add := func(what string, change func(*Consistency)) {
		damaged := good
		damaged.What = what
		change(&damaged)
		made = append(made, damaged)
	}
	if good.Size1 > 0 { // below 0 comes the largest number, which no reader can hold as a size
		add("size1 - 1", func(v *Consistency) { v.Size1-- })
	}
	add("size1 + 1", func(v *Consistency) { v.Size1++ })
	add("size1 ^ 2", func(v *Consistency) { v.Size1 ^= 2 })
	add("size2 + 1", func(v *Consistency) { v.Size2++ })
	add("size2 * 2", func(v *Consistency) { v.Size2 *= 2 })
	add("size2 / 2", func(v *Consistency) { v.Size2 /= 2 })
	add("other root1", func(v *Consistency) { v.Root1 = garbage })
	add("other root2", func(v *Consistency) { v.Root2 = garbage })
	add("roots swapped", func(v *Consistency) { v.Root1, v.Root2 = v.Root2, v.Root1 })
	damaged := damagedProofs(good.Proof, good.Root1, good.Root2)
	for _, what := range slices.Sorted(maps.Keys(damaged)) {
		add(what, func(v *Consistency) { v.Proof = damaged[what] })
	}
	return made
}

// damagedProofs are the proof with one thing wrong in it, by name. `known` hashes are ones that the verifier holds.
func damagedProofs(good [][]byte, known ...[]byte) map[string][][]byte {
	joined := func(parts ...[][]byte) (made [][]byte) {
		for _, part := range parts {
			made = append(made, part...)
		}
		return made
	}
	damaged := map[string][][]byte{
		"no hashes":             {},
		"an empty hash more":    joined(good, [][]byte{{}}),
		"an empty hash before":  joined([][]byte{{}}, good),
		"garbage after":         joined(good, [][]byte{garbage}),
		"garbage before":        joined([][]byte{garbage}, good),
		"a known hash after":    joined(good, known[:1]),
		"a known hash before":   joined(known[:1], good),
		"other known after":     joined(good, known[1:]),
		"other known before":    joined(known[1:], good),
		"all zero hash after":   joined(good, [][]byte{make([]byte, 32)}),
		"the whole proof twice": joined(good, good),
	}
	if len(good) > 0 {
		damaged["last hash gone"] = good[:len(good)-1]
		damaged["first hash gone"] = good[1:]
		damaged["first hash twice"] = joined(good[:1], good)
		damaged["last hash twice"] = joined(good, good[len(good)-1:])
	}
	for at := range good {
		flipped := bytes.Clone(good[at])
		flipped[0] ^= 4
		damaged[fmt.Sprintf("bit in hash %d", at)] = joined(good[:at], [][]byte{flipped}, good[at+1:])
		cut := good[at][:31]
		damaged[fmt.Sprintf("hash %d cut", at)] = joined(good[:at], [][]byte{cut}, good[at+1:])
	}
	if len(good) > 1 {
		damaged["first two swapped"] = joined(good[1:2], good[:1], good[2:])
	}
	return damaged
}

func write(vector any) {
	if err := out.Encode(vector); err != nil {
		log.Fatal(err)
	}
}
