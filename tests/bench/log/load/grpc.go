package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	connections = 4
	callTime    = 60 * time.Second
	page        = 256
)

func dial(o options) ([]trillian.TrillianLogClient, error) {
	var clients []trillian.TrillianLogClient
	for range min(connections, o.flight) {
		connection, err := grpc.NewClient(o.target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
		if err != nil {
			return nil, err
		}
		clients = append(clients, trillian.NewTrillianLogClient(connection))
	}
	return clients, nil
}

func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTime)
}

func readRoot(client trillian.TrillianLogClient, tree int64) (*types.LogRootV1, error) {
	ctx, cancel := within()
	defer cancel()
	answer, err := client.GetLatestSignedLogRoot(ctx, &trillian.GetLatestSignedLogRootRequest{LogId: tree})
	if err != nil {
		return nil, err
	}
	var root types.LogRootV1
	return &root, root.UnmarshalBinary(answer.GetSignedLogRoot().GetLogRoot())
}

// made is an entry of its own for each number: a digest in front, zeros after it.
func made(o options, number int64) []byte {
	body := make([]byte, max(o.size, sha256.Size))
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", o.unique, number))
	copy(body, digest[:])
	return body
}

func watchRoot(o options, start time.Time, client trillian.TrillianLogClient) (*watch, error) {
	return startWatch(start, o.poll, func() (uint64, error) {
		root, err := readRoot(client, o.tree)
		if err != nil {
			return 0, err
		}
		return root.TreeSize, nil
	})
}

// queue: QueueLeaf.
func queue(o options) (*report, error) {
	clients, err := dial(o)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	w, err := watchRoot(o, start, clients[0])
	if err != nil {
		return nil, err
	}
	samples, err := workers(o, start, func(worker int, number int64) (sample, error) {
		return queueOne(o, clients[worker%len(clients)], number)
	})
	if err != nil {
		return nil, err
	}
	if err := w.drain(w.base + uint64(len(samples))); err != nil {
		return nil, err
	}
	return summarise(samples, w)
}

// calls: QueueLeaf as above without a look at the root, to know what the calls alone cost.
func calls(o options) (*report, error) {
	clients, err := dial(o)
	if err != nil {
		return nil, err
	}
	samples, err := workers(o, time.Now(), func(worker int, number int64) (sample, error) {
		return queueOne(o, clients[worker%len(clients)], number)
	})
	if err != nil {
		return nil, err
	}
	return summarise(samples, nil)
}

func queueOne(o options, client trillian.TrillianLogClient, number int64) (sample, error) {
	ctx, cancel := within()
	defer cancel()
	answer, err := client.QueueLeaf(ctx, &trillian.QueueLeafRequest{
		LogId: o.tree, Leaf: &trillian.LogLeaf{LeafValue: made(o, number)}})
	if err != nil {
		return sample{}, err
	}
	if code := codes.Code(answer.GetQueuedLeaf().GetStatus().GetCode()); code != codes.OK {
		return sample{}, fmt.Errorf("leaf %d: %s", number, code)
	}
	return sample{entries: 1}, nil
}

// sequenced: AddSequencedLeaves, one call after the other, since the indexes must follow each other.
func sequenced(o options) (*report, error) {
	o.flight = 1
	clients, err := dial(o)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	w, err := watchRoot(o, start, clients[0])
	if err != nil {
		return nil, err
	}
	at := int64(w.base)
	samples, err := workers(o, start, func(_ int, _ int64) (sample, error) {
		request := &trillian.AddSequencedLeavesRequest{LogId: o.tree}
		for range o.batch {
			request.Leaves = append(request.Leaves, &trillian.LogLeaf{LeafValue: made(o, at), LeafIndex: at})
			at++
		}
		ctx, cancel := within()
		defer cancel()
		answer, err := clients[0].AddSequencedLeaves(ctx, request)
		if err != nil {
			return sample{}, err
		}
		for number, one := range answer.GetResults() {
			if code := codes.Code(one.GetStatus().GetCode()); code != codes.OK {
				return sample{}, fmt.Errorf("leaf %d of a call: %s", number, code)
			}
		}
		if len(answer.GetResults()) != o.batch {
			return sample{}, fmt.Errorf("%d results for %d leaves", len(answer.GetResults()), o.batch)
		}
		return sample{entries: o.batch, needs: uint64(at)}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := w.drain(uint64(at)); err != nil {
		return nil, err
	}
	return summarise(samples, w)
}

// proofs: GetInclusionProof or GetInclusionProofByHash of random leaves at the newest size; every proof is verified.
func proofs(o options) (*report, error) {
	clients, err := dial(o)
	if err != nil {
		return nil, err
	}
	root, err := readRoot(clients[0], o.tree)
	if err != nil {
		return nil, err
	}
	hashes, err := readHashes(clients[0], o.tree, int64(root.TreeSize))
	if err != nil {
		return nil, err
	}
	size := int64(root.TreeSize)
	samples, err := workers(o, time.Now(), func(worker int, _ int64) (sample, error) {
		index := rand.Int63n(size)
		ctx, cancel := within()
		defer cancel()
		got, err := ask(ctx, o, clients[worker%len(clients)], index, size, hashes[index])
		if err != nil {
			return sample{}, err
		}
		if got.GetLeafIndex() != index {
			return sample{}, fmt.Errorf("the proof is of leaf %d, not %d", got.GetLeafIndex(), index)
		}
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), root.TreeSize, hashes[index],
			got.GetHashes(), root.RootHash)
		return sample{entries: 1}, err
	})
	if err != nil {
		return nil, err
	}
	return summarise(samples, nil)
}

func ask(
	ctx context.Context, o options, client trillian.TrillianLogClient, index, size int64, hash []byte,
) (*trillian.Proof, error) {
	if o.mode == "proofs" {
		answer, err := client.GetInclusionProof(ctx, &trillian.GetInclusionProofRequest{
			LogId: o.tree, LeafIndex: index, TreeSize: size})
		return answer.GetProof(), err
	}
	answer, err := client.GetInclusionProofByHash(ctx, &trillian.GetInclusionProofByHashRequest{
		LogId: o.tree, LeafHash: hash, TreeSize: size})
	if err == nil && len(answer.GetProof()) != 1 {
		return nil, fmt.Errorf("%d proofs of one leaf hash", len(answer.GetProof()))
	}
	if err != nil {
		return nil, err
	}
	return answer.GetProof()[0], nil
}

func readHashes(client trillian.TrillianLogClient, tree, size int64) ([][]byte, error) {
	var hashes [][]byte
	for int64(len(hashes)) < size {
		ctx, cancel := within()
		answer, err := client.GetLeavesByRange(ctx, &trillian.GetLeavesByRangeRequest{
			LogId: tree, StartIndex: int64(len(hashes)), Count: page})
		cancel()
		if err != nil {
			return nil, err
		}
		if len(answer.GetLeaves()) == 0 {
			return nil, fmt.Errorf("no leaf %d in a tree of %d", len(hashes), size)
		}
		for _, leaf := range answer.GetLeaves() {
			hash := rfc6962.DefaultHasher.HashLeaf(leaf.GetLeafValue())
			if !bytes.Equal(hash, leaf.GetMerkleLeafHash()) {
				return nil, fmt.Errorf("leaf %d has another hash", leaf.GetLeafIndex())
			}
			hashes = append(hashes, hash)
		}
	}
	return hashes[:size], nil
}

// split reads entries, each after its length in four bytes.
func split(data []byte) ([][]byte, error) {
	var bodies [][]byte
	for len(data) > 0 {
		if len(data) < 4 || uint64(len(data)-4) < uint64(binary.BigEndian.Uint32(data)) {
			return nil, fmt.Errorf("the file of entries is cut off")
		}
		end := 4 + int(binary.BigEndian.Uint32(data))
		bodies, data = append(bodies, data[4:end]), data[end:]
	}
	return bodies, nil
}
