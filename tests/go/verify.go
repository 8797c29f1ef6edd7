// verify: judges signed notes, receipts and exported logs with Go's sumdb packages, which know nothing of this project.
//
//	verify note FILE VKEY…            a signed note that carries a signature of every VKEY
//	verify receipt FILE ENTRY VKEY    a C2SP tlog-proof of the entry in file ENTRY
//	verify log DIR VKEY [RECEIPT…]    a C2SP tlog-tiles export; the receipts' checkpoints are heads of this very log
//	verify flips …                    one of these again and again, each time with a bit of another byte flipped
//
// Exit code: 0 accepted (flips: the original was accepted and no flip was), 1 not, with the reason on standard error.
package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

var read = os.ReadFile // `flips` puts another one in its place

func openNote(data []byte, vkeys []string) (*note.Note, error) {
	var known []note.Verifier
	for _, vkey := range vkeys {
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, err
		}
		known = append(known, verifier)
	}
	n, err := note.Open(data, note.VerifierList(known...))
	if err == nil && len(n.Sigs) != len(vkeys) {
		err = fmt.Errorf("%d of %d signatures", len(n.Sigs), len(vkeys))
	}
	return n, err
}

// openCheckpoint reads a C2SP tlog-checkpoint whose origin is the key's name.
func openCheckpoint(data []byte, vkey string) (tree tlog.Tree, n *note.Note, err error) {
	if n, err = openNote(data, []string{vkey}); err != nil {
		return
	}
	line := strings.Split(n.Text, "\n")
	if len(line) != 4 || line[0] != n.Sigs[0].Name {
		return tree, n, errors.New("checkpoint: not origin, size and root")
	}
	if tree.N, err = strconv.ParseInt(line[1], 10, 64); err == nil {
		tree.Hash, err = tlog.ParseHash(line[2])
	}
	return
}

// openReceipt reads a C2SP tlog-proof: index and hashes, an empty line, the checkpoint.
func openReceipt(data []byte, vkey string) (index int64, proof tlog.RecordProof, tree tlog.Tree, n *note.Note, err error) {
	head, rest, _ := bytes.Cut(data, []byte("\n\n"))
	line := strings.Split(string(head), "\n")
	if len(line) < 2 || line[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(line[1], "index ") {
		err = errors.New("receipt: first lines")
		return
	}
	if index, err = strconv.ParseInt(line[1][len("index "):], 10, 64); err != nil {
		return
	}
	for _, text := range line[2:] {
		hash, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(hash) != tlog.HashSize {
			return 0, nil, tree, nil, errors.New("receipt: a hash is not one")
		}
		proof = append(proof, *(*tlog.Hash)(hash))
	}
	tree, n, err = openCheckpoint(rest, vkey)
	return
}

func checkReceipt(path, entryPath, vkey string) (*note.Note, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	entry, err := read(entryPath)
	if err != nil {
		return nil, err
	}
	index, proof, tree, n, err := openReceipt(data, vkey)
	if err == nil {
		err = tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
	}
	return n, err
}

// tiles is an exported log as a tlog.TileReader: C2SP leaves the height out of the paths.
type tiles string

func (dir tiles) Height() int                         { return tileHeight }
func (dir tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (dir tiles) path(t tlog.Tile) string {
	path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
	return filepath.Join(string(dir), strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

func (dir tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, t := range wanted {
		tile, err := read(dir.path(t))
		if err != nil {
			return nil, err
		}
		data = append(data, tile)
	}
	return data, nil
}

// checkEntries compares every entry of the bundles with its leaf in the authenticated tiles.
func (dir tiles) checkEntries(size int64, hashes tlog.HashReader) error {
	for first := int64(0); first < size; first += 1 << tileHeight {
		last := first + 1<<tileHeight
		if last > size {
			last = size
		}
		var indexes []int64
		for i := first; i < last; i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, i))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		data, err := read(dir.path(tlog.Tile{H: tileHeight, L: -1, N: first >> tileHeight, W: int(last - first)}))
		if err != nil {
			return err
		}
		for i, leaf := range leaves {
			if len(data) < 2 || len(data)-2 < int(data[0])<<8+int(data[1]) {
				return fmt.Errorf("entry %d is cut off", first+int64(i))
			}
			end := 2 + int(data[0])<<8 + int(data[1])
			if leaf != tlog.RecordHash(data[2:end]) {
				return fmt.Errorf("entry %d is not the one in the tree", first+int64(i))
			}
			data = data[end:]
		}
		if len(data) > 0 {
			return errors.New("bytes after the last entry")
		}
	}
	return nil
}

func checkLog(dir tiles, vkey string, receipts []string) (*note.Note, error) {
	data, err := read(filepath.Join(string(dir), "checkpoint"))
	if err != nil {
		return nil, err
	}
	tree, n, err := openCheckpoint(data, vkey)
	if err != nil {
		return nil, err
	}
	hashes := tlog.TileHashReader(tree, dir) // gives only hashes that lead to the checkpoint's root
	if err := dir.checkEntries(tree.N, hashes); err != nil {
		return nil, err
	}
	for _, path := range receipts {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		_, _, old, _, err := openReceipt(data, vkey)
		if err != nil {
			return nil, err
		}
		if root, err := tlog.TreeHash(old.N, hashes); err != nil || root != old.Hash {
			return nil, fmt.Errorf("%s: not a head of this log: %v", path, err)
		}
	}
	return n, nil
}

func check(arg []string) (*note.Note, error) {
	switch {
	case len(arg) >= 3 && arg[0] == "note":
		data, err := read(arg[1])
		if err != nil {
			return nil, err
		}
		return openNote(data, arg[2:])
	case len(arg) == 4 && arg[0] == "receipt":
		return checkReceipt(arg[1], arg[2], arg[3])
	case len(arg) >= 3 && arg[0] == "log":
		return checkLog(tiles(arg[1]), arg[2], arg[3:])
	}
	return nil, errors.New("usage: verify [flips] note|receipt|log …")
}

// same: base64 leaves four bits of a signature's last letter free, and Go does not look at them: not a change of what is said.
func same(a, b *note.Note) bool {
	if a.Text != b.Text || len(a.Sigs) != len(b.Sigs) {
		return false
	}
	for i, sig := range a.Sigs {
		value, _ := base64.StdEncoding.DecodeString(sig.Base64)
		other, _ := base64.StdEncoding.DecodeString(b.Sigs[i].Base64)
		if sig.Name != b.Sigs[i].Name || !bytes.Equal(value, other) {
			return false
		}
	}
	return true
}

// flips tries a bit of every byte that the check reads.
func flips(arg []string) error {
	files := map[string][]byte{}
	read = func(path string) ([]byte, error) {
		data, err := os.ReadFile(path)
		files[path] = data
		return data, err
	}
	good, err := check(arg)
	if err != nil {
		return err
	}
	count := 0
	read = func(path string) ([]byte, error) { return files[path], nil }
	for path, data := range files {
		for i := range data {
			data[i] ^= 1 << (i % 8)
			n, err := check(arg)
			lastLetter := i+1 < len(data) && data[i+1] == '=' && !strings.Contains(path, "/tile/")
			if err == nil && !(lastLetter && same(n, good)) {
				return fmt.Errorf("%s: accepted with a bit of byte %d flipped", path, i)
			}
			data[i] ^= 1 << (i % 8)
			if err != nil {
				count++
			}
		}
	}
	fmt.Printf("%d flips refused in %d files\n", count, len(files))
	return nil
}

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "flips" {
		err = flips(os.Args[2:])
	} else {
		_, err = check(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}
