// Command compliance checks container configurations against OCI's runtime specification: its
// JSON schema, and its Go types without unknown keys, which are what runc reads.
//
// Usage: compliance <config-schema.json> <config.json>...
//
// Before it judges anything it proves itself: the first document, broken on purpose in several
// ways, must fail each time.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A breakage turns a good configuration into one that the named part must refuse.
type breakage struct {
	name     string
	bySchema bool
	apply    func(config map[string]any)
}

var breakages = []breakage{
	{"no version", true, func(config map[string]any) { delete(config, "ociVersion") }},
	{"no root path", true, func(config map[string]any) { delete(part(config, "root"), "path") }},
	{"arguments as text", true, func(config map[string]any) { part(config, "process")["args"] = "bash" }},
	{"negative uid", true, func(config map[string]any) { part(part(config, "process"), "user")["uid"] = -1 }},
	{"mount without destination", true, func(config map[string]any) {
		config["mounts"] = []any{map[string]any{"type": "bind"}}
	}},
	{"namespace of no kind", true, func(config map[string]any) {
		part(config, "linux")["namespaces"] = []any{map[string]any{"type": "moon"}}
	}},
	{"unknown seccomp action", true, func(config map[string]any) {
		part(config, "linux")["seccomp"] = map[string]any{"defaultAction": "SCMP_ACT_SHRUG"}
	}},
	{"unknown key", false, func(config map[string]any) { part(config, "process")["capabilites"] = map[string]any{} }},
}

func part(config map[string]any, key string) map[string]any {
	return config[key].(map[string]any)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compliance:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("usage: compliance <config-schema.json> <config.json>...")
	}
	compiler := jsonschema.NewCompiler()
	// What the schema's root declares; the files it refers to declare none.
	compiler.DefaultDraft(jsonschema.Draft4)
	schema, err := compiler.Compile(arguments[0])
	if err != nil {
		return fmt.Errorf("cannot read the schema: %w", err)
	}
	documents := arguments[1:]
	if err := proveItself(schema, documents[0]); err != nil {
		return err
	}
	failed := 0
	for _, name := range documents {
		content, err := os.ReadFile(name)
		if err == nil {
			err = errors.Join(checkSchema(schema, content), checkTypes(content))
		}
		if err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d configurations are refused", failed, len(documents))
	}
	fmt.Printf("%d configurations pass, %d broken ones are refused\n", len(documents), len(breakages))
	return nil
}

func checkSchema(schema *jsonschema.Schema, content []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

func checkTypes(content []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	return decoder.Decode(new(specs.Spec))
}

func proveItself(schema *jsonschema.Schema, name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for _, broken := range breakages {
		config := map[string]any{}
		if err := json.Unmarshal(content, &config); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		broken.apply(config)
		document, err := json.Marshal(config)
		if err != nil {
			return err
		}
		refusal := checkTypes(document)
		if broken.bySchema {
			refusal = checkSchema(schema, document)
		}
		if refusal == nil {
			return fmt.Errorf("this check is worth nothing: a configuration with %s passes", broken.name)
		}
	}
	return nil
}
