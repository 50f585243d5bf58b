package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/transparency-dev/merkle/proof"
)

// bundleType is the media type of a proof bundle (log/FORMATS.md, 6).
const bundleType = "application/vnd.touchplate.bundle.v1+json"

// payloadType is the only one that envelopes have (log/FORMATS.md, 3).
const payloadType = "application/vnd.in-toto+json"

// proofBundle is a proof bundle as it lies on disk.
type proofBundle struct {
	MediaType  string          `json:"mediaType"`
	Artifact   json.RawMessage `json:"artifact"`
	Checkpoint string          `json:"checkpoint"`
	Entries    []struct {
		Index    string   `json:"index"`
		Envelope []byte   `json:"envelope"`
		Key      []byte   `json:"key"`
		Proof    [][]byte `json:"proof"`
	} `json:"entries"`
}

// envelope is a DSSE envelope in the form of log/FORMATS.md, 3.
type envelope struct {
	Payload     []byte `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		Sig []byte `json:"sig"`
	} `json:"signatures"`
}

// checkBundle checks a proof bundle's checkpoint, and each of its entries: rebuilt leaf, inclusion, place in this log.
func (l *Log) checkBundle(path string, report *Report) {
	name := filepath.Base(path)
	report.Bundles++
	data, err := os.ReadFile(path)
	if err != nil {
		report.Add("bundle", name, "%v", err)
		return
	}
	var bundle proofBundle
	if err := strict(data, &bundle); err != nil {
		report.Add("bundle", name, "%v", err)
		return
	}
	if bundle.MediaType != bundleType || len(bundle.Entries) == 0 {
		report.Add("bundle", name, "media type %q, %d entries", bundle.MediaType, len(bundle.Entries))
	}
	at, err := l.openHead([]byte(bundle.Checkpoint))
	if err != nil {
		report.Add("bundle", name, "its checkpoint: %v", err)
		return
	}
	if at.size > l.head.size || !bytes.Equal(at.root, l.roots[at.size]) {
		report.Add("bundle", name, "its checkpoint of size %d is not one of this log", at.size)
	}
	for number, entry := range bundle.Entries {
		report.Proofs++
		where := fmt.Sprintf("%s entry %d", name, number)
		index, err := strconv.ParseUint(entry.Index, 10, 63)
		if err != nil {
			report.Add("bundle", where, "index %q", entry.Index)
			continue
		}
		leaf, err := leafOf(entry.Envelope, entry.Key)
		if err != nil {
			report.Add("bundle", where, "%v", err)
			continue
		}
		if err := proof.VerifyInclusion(hasher, index, at.size, hasher.HashLeaf(leaf), entry.Proof, at.root); err != nil {
			report.Add("bundle", where, "inclusion at index %d: %s", index, short(err))
		}
		if index >= l.head.size || !bytes.Equal(leaf, l.entries[index]) {
			report.Add("bundle", where, "is not the entry at index %d of this log", index)
		}
	}
}

// checkEnvelopes demands that every envelope bundle yields the leaves of the entry bundle of the same number.
func (l *Log) checkEnvelopes(report *Report) {
	for index := uint64(0); index*width < l.head.size; index++ {
		count := bundleCount(index, l.head.size)
		found, err := l.read("envelopes", index, count)
		rest := found.data
		for number := 0; err == nil && number < count; number++ {
			var text, key, leaf []byte
			if text, rest, err = take(rest, 4); err == nil {
				key, rest, err = take(rest, 2)
			}
			if err == nil {
				leaf, err = leafOf(text, key)
			}
			place := index*width + uint64(number)
			if err == nil && !bytes.Equal(leaf, l.entries[place]) {
				err = fmt.Errorf("it does not yield the entry at index %d", place)
			}
			if err != nil {
				err = fmt.Errorf("envelope %d: %w", number, err)
			}
			report.Envelopes++
		}
		if err == nil {
			err = found.end(rest, count)
		}
		if err != nil {
			report.Add("envelopes", found.path, "%v", err)
		}
	}
}

// leafOf rebuilds the leaf data from an envelope and the key that signed it: Rekor v2's hashedrekord 0.0.2.
func leafOf(data, key []byte) ([]byte, error) {
	var signed envelope
	if err := strict(data, &signed); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if signed.PayloadType != payloadType || len(signed.Signatures) != 1 {
		return nil, fmt.Errorf("envelope: payload type %q, %d signatures", signed.PayloadType, len(signed.Signatures))
	}
	signature := signed.Signatures[0].Sig
	// DSSE's pre-authentication encoding.
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(signed.Payload), signed.Payload)
	public, err := x509.ParsePKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	var algorithm, details string
	var digest []byte
	var good bool
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		algorithm, details, digest = "SHA2_256", "PKIX_ECDSA_P256_SHA_256", sum[:]
		good = ecdsa.VerifyASN1(public, sum[:], signature)
	case ed25519.PublicKey:
		sum := sha512.Sum512(message)
		algorithm, details, digest = "SHA2_512", "PKIX_ED25519_PH", sum[:]
		good = ed25519.Verify(public, message, signature)
	}
	if !good {
		return nil, fmt.Errorf("the signature is not by the key")
	}
	// Maps are written with sorted keys, and nothing in here needs an escape: this is the canonical form.
	object := func(pairs ...any) map[string]any {
		made := map[string]any{}
		for at := 0; at < len(pairs); at += 2 {
			made[pairs[at].(string)] = pairs[at+1]
		}
		return made
	}
	return json.Marshal(object("apiVersion", "0.0.2", "kind", "hashedrekord", "spec", object("hashedRekordV002", object(
		"data", object("algorithm", algorithm, "digest", digest),
		"signature", object("content", signature, "verifier", object(
			"keyDetails", details, "publicKey", object("rawBytes", key)))))))
}

// strict decodes one JSON value without unknown fields, and nothing after it.
func strict(data []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if decoder.More() {
		return fmt.Errorf("something stands after the JSON value")
	}
	return nil
}
