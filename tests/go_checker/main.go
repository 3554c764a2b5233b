// Audits the folder of a log with nothing but golang.org/x/mod: its reading of signed notes, its
// Merkle trees, its tiles. No line of the project's own code takes part.
//
//	go_checker -log DIR -key VKEY [-since CHECKPOINT] [-witness VKEY]... [-cosigned K]
//
// Exits with 0 and `ok SIZE ROOT`, with 1 and the first fault on stderr, with 2 for a wrong call.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // of a tile: 256 hashes (C2SP tlog-tiles)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// witness checks lines of C2SP tlog-cosignature, key type 4; x/mod knows type 1 alone.
type witness struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.id }

func (w witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	when := binary.BigEndian.Uint64(sig[:8])
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", when, msg)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}

func parseWitness(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("a witness key is name+hash+base64")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, fmt.Errorf("a witness key has type 4 and 32 bytes")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	id := binary.BigEndian.Uint32(sum[:4])
	if fmt.Sprintf("%08x", id) != parts[1] {
		return nil, fmt.Errorf("the key of %s does not match its key id", parts[0])
	}
	return witness{parts[0], id, ed25519.PublicKey(key[1:])}, nil
}

func openCheckpoint(data []byte, key note.Verifier, more []note.Verifier) (tlog.Tree, int, error) {
	var tree tlog.Tree
	opened, err := note.Open(data, note.VerifierList(append([]note.Verifier{key}, more...)...))
	if err != nil {
		return tree, 0, err
	}
	signed, cosigned := false, 0
	for _, s := range opened.Sigs {
		if s.Name == key.Name() && s.Hash == key.KeyHash() {
			signed = true
		} else {
			cosigned++
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if !signed || len(lines) < 4 || lines[0] != key.Name() {
		return tree, 0, fmt.Errorf("not a checkpoint of %s", key.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, 0, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, cosigned, err
}

// folder reads tiles by the paths of C2SP tlog-tiles, which leave out the tile height.
type folder struct{ dir string }

func (f folder) Height() int                     { return height }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) read(t tlog.Tile) ([]byte, error) {
	path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
	path = strings.Replace(path, "tile/data/", "tile/entries/", 1)
	return os.ReadFile(filepath.Join(f.dir, path))
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		data, err := f.read(t)
		if os.IsNotExist(err) && t.W < 1<<height { // gave way to the full tile
			full := t
			full.W = 1 << height
			if data, err = f.read(full); err == nil && len(data) >= t.W*tlog.HashSize {
				data = data[:t.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		if len(data) != t.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", t.Path(), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) entries(size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n<<height < size; n++ {
		width := size - n<<height
		if width > 1<<height {
			width = 1 << height
		}
		data, err := f.read(tlog.Tile{H: height, L: -1, N: n, W: int(width)})
		if os.IsNotExist(err) {
			data, err = f.read(tlog.Tile{H: height, L: -1, N: n, W: 1 << height})
		}
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < width; i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("entry bundle %d ends within its entry %d", n, i)
			}
			length := 2 + int(binary.BigEndian.Uint16(data))
			all, data = append(all, data[2:length]), data[length:]
		}
	}
	return all, nil
}

// memory holds every hash of the tree, recomputed from the entries alone.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= int64(len(m)) {
			return nil, fmt.Errorf("no hash %d", at)
		}
		found[i] = m[at]
	}
	return found, nil
}

func audit(dir string, tree tlog.Tree, old *tlog.Tree) error {
	f := folder{dir}
	// 1. The entries give the signed root.
	entries, err := f.entries(tree.N)
	if err != nil {
		return err
	}
	var known memory
	for i, entry := range entries {
		made, err := tlog.StoredHashes(int64(i), entry, known)
		if err != nil {
			return err
		}
		known = append(known, made...)
	}
	root, err := tlog.TreeHash(tree.N, known)
	if err != nil {
		return err
	}
	if tree.N > 0 && root != tree.Hash {
		return fmt.Errorf("the entries do not give the signed root")
	}
	if tree.N == 0 {
		return nil
	}
	// 2. Each tile holds the hashes that the entries give.
	tiled := tlog.NewTiles(height, 0, tree.N)
	for i, t := range tiled {
		if i+1 < len(tiled) && tiled[i+1].L == t.L && tiled[i+1].N == t.N {
			continue // a narrower form of the tile after it, which a log may have removed
		}
		want, err := tlog.ReadTileData(t, known)
		if err != nil {
			return err
		}
		have, err := f.ReadTiles([]tlog.Tile{t})
		if err != nil {
			return err
		}
		if !bytes.Equal(want, have[0]) {
			return fmt.Errorf("%s does not hold the hashes of the entries", t.Path())
		}
	}
	// 3. The tiles alone give the signed root and each entry's hash, as a client would read them.
	tiles := tlog.TileHashReader(tree, f)
	if root, err = tlog.TreeHash(tree.N, tiles); err != nil || root != tree.Hash {
		return fmt.Errorf("the tiles do not give the signed root (%v)", err)
	}
	indexes := make([]int64, tree.N)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, int64(i))
	}
	leaves, err := tiles.ReadHashes(indexes)
	if err != nil {
		return err
	}
	// 4. Each entry is included, at its place.
	for i, entry := range entries {
		proof, err := tlog.ProveRecord(tree.N, int64(i), known)
		if err != nil {
			return err
		}
		hash := tlog.RecordHash(entry)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(i), hash); err != nil || hash != leaves[i] {
			return fmt.Errorf("entry %d is not included (%v)", i, err)
		}
	}
	// 5. The older checkpoint is of the same log.
	if old == nil || old.N == 0 {
		return nil
	}
	if old.N > tree.N {
		return fmt.Errorf("the log holds %d entries and had %d before", tree.N, old.N)
	}
	proof, err := tlog.ProveTree(tree.N, old.N, tiles)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("the log does not extend the older checkpoint: %v", err)
	}
	return nil
}

func run() error {
	var keys list
	dir := flag.String("log", "", "the folder")
	vkey := flag.String("key", "", "the verifier key")
	since := flag.String("since", "", "an older checkpoint")
	cosigned := flag.Int("cosigned", 0, "how many witnesses at least")
	flag.Var(&keys, "witness", "a witness's key")
	flag.Parse()
	key, err := note.NewVerifier(*vkey)
	if err != nil || *dir == "" {
		flag.Usage()
		os.Exit(2)
	}
	var witnesses []note.Verifier
	for _, text := range keys {
		w, err := parseWitness(text)
		if err != nil {
			return err
		}
		witnesses = append(witnesses, w)
	}
	data, err := os.ReadFile(filepath.Join(*dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, _, err := openCheckpoint(data, key, nil)
	if err != nil {
		return err
	}
	if *cosigned > 0 {
		data, err := os.ReadFile(filepath.Join(*dir, "checkpoint.cosigned"))
		if err != nil {
			return err
		}
		seen, count, err := openCheckpoint(data, key, witnesses)
		if err != nil {
			return err
		}
		if count < *cosigned {
			return fmt.Errorf("%d of %d cosignatures", count, *cosigned)
		}
		if err := audit(*dir, tree, &seen); err != nil {
			return err
		}
	}
	var old *tlog.Tree
	if *since != "" {
		data, err := os.ReadFile(*since)
		if err != nil {
			return err
		}
		before, _, err := openCheckpoint(data, key, nil)
		if err != nil {
			return fmt.Errorf("the older checkpoint: %v", err)
		}
		old = &before
	}
	if err := audit(*dir, tree, old); err != nil {
		return err
	}
	fmt.Printf("ok %d %s\n", tree.N, tree.Hash)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "not whole: %v\n", err)
		os.Exit(1)
	}
}
