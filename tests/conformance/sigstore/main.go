// Command sigstore asks a foreign verifier, the sigstore-go library, about Sigstore bundles: which it accepts and
// which it refuses. It uses no network: keys, trusted root and bundles are files.
//
// Usage: sigstore CASES.json, a list of cases; paths count from the folder of that file. One JSON line per case goes
// to stdout. Exit 0 when every verdict is the expected one, 1 after a surprise, 2 when the cases cannot be read.
package main

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Case is one question. The artifact is given by File or by SHA256 (hex).
type Case struct {
	Name        string `json:"name"`
	Bundle      string `json:"bundle"`
	TrustedRoot string `json:"trustedRoot"`
	PublicKey   string `json:"publicKey"` // PEM text, the only statement key that is trusted
	File        string `json:"file,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Expect      string `json:"expect"`              // "ok" or "refused"
	Threshold   int    `json:"threshold,omitempty"` // log keys that must prove the entry; 0 means 1
}

// Verdict is the answer to a case.
type Verdict struct {
	Name   string `json:"name"`
	Expect string `json:"expect"`
	Got    string `json:"got"`
	Detail string `json:"detail,omitempty"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sigstore CASES.json")
		os.Exit(2)
	}
	surprises, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "sigstore:", err)
		os.Exit(2)
	}
	if surprises > 0 {
		os.Exit(1)
	}
}

func run(path string) (surprises int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var cases []Case
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&cases); err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, c := range cases {
		verdict := Verdict{Name: c.Name, Expect: c.Expect, Got: "ok"}
		if err := check(c, filepath.Dir(path)); err != nil {
			verdict.Got, verdict.Detail = "refused", err.Error()
		}
		if verdict.Got != c.Expect {
			surprises++
		}
		if err := out.Encode(verdict); err != nil {
			return surprises, err
		}
	}
	return surprises, nil
}

// check is what a user of the library does: trust one key and one root, demand log entries, name the artifact.
func check(c Case, folder string) error {
	trusted, err := root.NewTrustedRootFromPath(filepath.Join(folder, c.TrustedRoot))
	if err != nil {
		return fmt.Errorf("trusted root: %w", err)
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(c.PublicKey))
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	// Whatever hint the bundle gives, there is this one key. No validity period: it is long-lived.
	keys := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	loaded, err := bundle.LoadJSONFromPath(filepath.Join(folder, c.Bundle))
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	artifact, err := artifactOf(c, folder)
	if err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	checker, err := verify.NewVerifier(root.TrustedMaterialCollection{trusted, keys},
		verify.WithTransparencyLog(max(c.Threshold, 1)), verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	_, err = checker.Verify(loaded, verify.NewPolicy(artifact, verify.WithKey()))
	return err
}

func artifactOf(c Case, folder string) (verify.ArtifactPolicyOption, error) {
	if c.File != "" {
		data, err := os.ReadFile(filepath.Join(folder, c.File))
		if err != nil {
			return nil, err
		}
		return verify.WithArtifact(bytes.NewReader(data)), nil
	}
	digest, err := hex.DecodeString(c.SHA256)
	if err != nil {
		return nil, err
	}
	return verify.WithArtifactDigest("sha256", digest), nil
}
