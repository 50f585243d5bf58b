package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// width is the number of hashes, entries or envelopes in a full tile or bundle (tlog-tiles).
const width = 256

// Log is a folder with the paths of tlog-tiles and, once checked, what its entries come to.
type Log struct {
	folder   string
	verifier note.Verifier
	head     head
	entries  [][]byte   // leaf data
	leaves   [][]byte   // leaf hashes
	roots    [][]byte   // roots[n] is the root of the first n entries
	rows     [][][]byte // rows[l] holds what the tiles of level l must hold
	nodes    *nodes
}

// head is what a signed checkpoint says.
type head struct {
	size uint64
	root []byte
}

func newLog(folder, key string) (*Log, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	return &Log{folder: folder, verifier: verifier}, nil
}

// openHead verifies a signed checkpoint of this log (tlog-checkpoint): known key, its name as origin, three lines.
func (l *Log) openHead(signed []byte) (head, error) {
	opened, err := note.Open(signed, note.VerifierList(l.verifier))
	if err != nil {
		return head{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return head{}, fmt.Errorf("%d lines instead of origin, size and root", len(lines)-1)
	}
	if lines[0] != l.verifier.Name() {
		return head{}, fmt.Errorf("origin %q, not %q", lines[0], l.verifier.Name())
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return head{}, fmt.Errorf("size %q", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != hashSize {
		return head{}, fmt.Errorf("root %q", lines[2])
	}
	return head{size, root}, nil
}

// file is what lies at the path of a tile or bundle. exact: it was made for just as many elements as were asked for.
type file struct {
	data  []byte
	path  string
	exact bool
}

// read finds the tile or bundle of `count` elements. As tlog-tiles allows, a partial may be gone once the full one
// exists: whoever calls then takes the first elements of what it gets. The path is told also when there is an error.
func (l *Log) read(kind string, index uint64, count int) (file, error) {
	full := fmt.Sprintf("tile/%s/%s", kind, number(index))
	path := full
	if count < width {
		path = fmt.Sprintf("%s.p/%d", full, count)
	}
	data, err := os.ReadFile(filepath.Join(l.folder, path))
	if count < width && errors.Is(err, fs.ErrNotExist) {
		if data, err := os.ReadFile(filepath.Join(l.folder, full)); err == nil {
			return file{data, full, false}, nil
		}
	}
	return file{data, path, true}, err
}

// end is an error when something stands after the elements of a file that has no others.
func (f file) end(rest []byte, count int) error {
	if f.exact && len(rest) > 0 {
		return fmt.Errorf("%d bytes after its %d elements", len(rest), count)
	}
	return nil
}

// number writes an index in groups of three digits: 1234067 is x001/x234/067.
func number(index uint64) string {
	text := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		text = fmt.Sprintf("x%03d/%s", index%1000, text)
	}
	return text
}

// take cuts a length of `size` bytes (big endian) and that many bytes off `data`.
func take(data []byte, size int) (element, rest []byte, err error) {
	if len(data) < size {
		return nil, nil, errors.New("ends inside a length")
	}
	var length uint64
	if size == 2 {
		length = uint64(binary.BigEndian.Uint16(data))
	} else {
		length = uint64(binary.BigEndian.Uint32(data))
	}
	data = data[size:]
	if uint64(len(data)) < length {
		return nil, nil, fmt.Errorf("ends inside an element of %d bytes", length)
	}
	return data[:length], data[length:], nil
}

// bundleCount is the number of elements in the bundle `index` of a log of `size` entries.
func bundleCount(index, size uint64) int {
	return int(min(width, size-index*width))
}
