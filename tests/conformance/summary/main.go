// Command summary checks one verification summary (SLSA VSA v1) with foreign libraries: the envelope with
// go-securesystemslib and sigstore's keys, statement and predicate with in-toto's official bindings for Go. The
// options are those of `slsa-verifier verify-vsa`, and so is what is done with them: the seven steps of SLSA's
// specification. It uses no network.
//
// Exit 0 and "PASSED" when every step holds, 1 with the step that does not, 2 when the question cannot be read.
package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	sigdsse "github.com/sigstore/sigstore/pkg/signature/dsse"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	predicateType = "https://slsa.dev/verification_summary/v1"
	payloadType   = "application/vnd.in-toto+json"
)

var track = regexp.MustCompile(`^(SLSA_[A-Z0-9_]+_LEVEL_)([0-9]+)$`)

type question struct {
	attestation, key, digest, verifier, resource, level string
}

func main() {
	var q question
	flag.StringVar(&q.attestation, "attestation-path", "", "the envelope")
	flag.StringVar(&q.key, "public-key-path", "", "the verifier's public key, PEM")
	flag.StringVar(&q.digest, "subject-digest", "", "sha256:HEX")
	flag.StringVar(&q.verifier, "verifier-id", "", "expected verifier.id")
	flag.StringVar(&q.resource, "resource-uri", "", "expected resourceUri")
	flag.StringVar(&q.level, "verified-level", "", "expected level")
	flag.Parse()
	data, err := os.ReadFile(q.attestation)
	if err != nil {
		fail(2, err)
	}
	pem, err := os.ReadFile(q.key)
	if err != nil {
		fail(2, err)
	}
	if err := check(q, data, pem); err != nil {
		fail(1, err)
	}
	fmt.Println("PASSED")
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "summary:", err)
	os.Exit(code)
}

func check(q question, data, pem []byte) error {
	payload, err := open(data, pem)
	if err != nil {
		return fmt.Errorf("step 1: %w", err)
	}
	// in-toto: whoever reads a statement ignores the fields that he does not know.
	lenient := protojson.UnmarshalOptions{DiscardUnknown: true}
	var statement intoto.Statement
	if err := lenient.Unmarshal(payload, &statement); err != nil {
		return fmt.Errorf("step 2: %w", err)
	}
	if err := statement.Validate(); err != nil {
		return fmt.Errorf("step 2: %w", err)
	}
	algorithm, digest, _ := strings.Cut(q.digest, ":")
	if !slices.ContainsFunc(statement.Subject, func(one *intoto.ResourceDescriptor) bool {
		return digest != "" && one.Digest[algorithm] == digest
	}) {
		return fmt.Errorf("step 2: no subject has %s", q.digest)
	}
	if statement.PredicateType != predicateType {
		return fmt.Errorf("step 3: predicate type %s", statement.PredicateType)
	}
	predicate, err := protojson.Marshal(statement.Predicate)
	if err != nil {
		return err
	}
	var summary vsa.VerificationSummary
	if err := lenient.Unmarshal(predicate, &summary); err != nil {
		return fmt.Errorf("step 4: %w", err)
	}
	if summary.GetVerifier().GetId() != q.verifier {
		return fmt.Errorf("step 4: verifier %q", summary.GetVerifier().GetId())
	}
	return said(q, &summary)
}

// open is step 1: the payload, if the key signed it.
func open(data, pem []byte) ([]byte, error) {
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, err
	}
	loaded, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	verifier, err := dsse.NewEnvelopeVerifier(&sigdsse.VerifierAdapter{SignatureVerifier: loaded, Pub: key})
	if err != nil {
		return nil, err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, err
	}
	if envelope.PayloadType != payloadType {
		return nil, fmt.Errorf("payload type %q", envelope.PayloadType)
	}
	if _, err := verifier.Verify(context.Background(), &envelope); err != nil {
		return nil, err
	}
	return envelope.DecodeB64Payload()
}

// said is steps 5 to 7, and that the policy and every input name what they are.
func said(q question, summary *vsa.VerificationSummary) error {
	if summary.ResourceUri != q.resource {
		return fmt.Errorf("step 5: resource %q", summary.ResourceUri)
	}
	if summary.VerificationResult != "PASSED" {
		return fmt.Errorf("step 6: result %q", summary.VerificationResult)
	}
	if !slices.ContainsFunc(summary.VerifiedLevels, func(level string) bool { return implies(level, q.level) }) {
		return fmt.Errorf("step 7: levels %q", summary.VerifiedLevels)
	}
	if summary.GetPolicy().GetUri() == "" || len(summary.GetPolicy().GetDigest()["sha256"]) != 64 {
		return errors.New("the policy is not named by uri and digest")
	}
	for _, input := range summary.InputAttestations {
		if len(input.GetDigest()["sha256"]) != 64 {
			return fmt.Errorf("input %q has no digest", input.GetUri())
		}
	}
	if !summary.GetTimeVerified().IsValid() {
		return errors.New("timeVerified is no time")
	}
	return nil
}

func implies(level, wanted string) bool {
	if level == wanted {
		return true
	}
	has, wants := track.FindStringSubmatch(level), track.FindStringSubmatch(wanted)
	if has == nil || wants == nil || has[1] != wants[1] {
		return false
	}
	high, _ := strconv.Atoi(has[2])
	low, _ := strconv.Atoi(wants[2])
	return high >= low
}
