// The peer of stream.ts in Go: the same lines, answers and digests. `copy` is io.Copy from the connection to itself,
// which splices. `http` serves what http.ts serves.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	period    = 65521
	chunk     = 60000
	step      = 977
	slowBytes = 50000
	slowPause = 5 * time.Millisecond
)

var pattern = func() []byte {
	bytes := make([]byte, period+chunk)
	for i := range bytes {
		at := i % period
		bytes[i] = byte(at*7 + (at>>8)*13)
	}
	return bytes
}()

// write sends count bytes of the pattern.
func write(to io.Writer, count, start int) error {
	for at := 0; at < count; at += chunk {
		begin := (start + at) % period
		size := chunk
		if count-at < size {
			size = count - at
		}
		if _, err := to.Write(pattern[begin : begin+size]); err != nil {
			return err
		}
	}
	return nil
}

func hexOf(digest hash.Hash) string { return hex.EncodeToString(digest.Sum(nil)) }

func answer(conn *net.TCPConn) error {
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return err
		}
		words := append(strings.Fields(line), "0", "0")
		count, _ := strconv.Atoi(words[1])
		switch words[0] {
		case "echo":
			_, err = io.CopyN(conn, reader, int64(count))
		case "give":
			start, _ := strconv.Atoi(words[2])
			err = write(conn, count, start)
		case "take":
			digest := sha256.New()
			if _, err = io.CopyN(digest, reader, int64(count)); err == nil {
				_, err = fmt.Fprintf(conn, "%s\n", hexOf(digest))
			}
		case "copy":
			if _, err = io.CopyN(conn, reader, int64(reader.Buffered())); err != nil {
				return err
			}
			if _, err = io.Copy(conn, conn); err != nil {
				return err
			}
			return conn.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

func serve(port string) {
	listener, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			_ = answer(conn.(*net.TCPConn))
		}()
	}
}

type caller struct {
	conn   *net.TCPConn
	reader *bufio.Reader
	start  int
}

func (c *caller) requests(count, size int) (string, error) {
	digest := sha256.New()
	for i := 0; i < count; i++ {
		sent := make(chan error, 1)
		go func() {
			whole := append([]byte(fmt.Sprintf("echo %d\n", size)), make([]byte, size)...)
			at := len(whole) - size
			for k := range whole[at:] {
				whole[at+k] = pattern[(c.start+i+k)%period]
			}
			_, err := c.conn.Write(whole)
			sent <- err
		}()
		if _, err := io.CopyN(digest, c.reader, int64(size)); err != nil {
			return "", err
		}
		if err := <-sent; err != nil {
			return "", err
		}
	}
	return hexOf(digest), nil
}

func (c *caller) give(count int, slow bool) (string, error) {
	digest := sha256.New()
	if _, err := fmt.Fprintf(c.conn, "give %d %d\n", count, c.start); err != nil {
		return "", err
	}
	for left := count; left > 0; {
		part := left
		if slow && part > slowBytes {
			part = slowBytes
		}
		if _, err := io.CopyN(digest, c.reader, int64(part)); err != nil {
			return "", err
		}
		left -= part
		if slow {
			time.Sleep(slowPause)
		}
	}
	return hexOf(digest), nil
}

func (c *caller) take(count int) (string, error) {
	if _, err := fmt.Fprintf(c.conn, "take %d\n", count); err != nil {
		return "", err
	}
	if err := write(c.conn, count, c.start); err != nil {
		return "", err
	}
	line, err := c.reader.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (c *caller) half(count int) (string, error) {
	sent := make(chan error, 1)
	go func() {
		_, err := c.conn.Write([]byte("copy\n"))
		if err == nil {
			err = write(c.conn, count, c.start)
		}
		if err == nil {
			err = c.conn.CloseWrite()
		}
		sent <- err
	}()
	digest := sha256.New()
	came, err := io.Copy(digest, c.reader)
	if failed := <-sent; err == nil {
		err = failed
	}
	return fmt.Sprintf("%d:%s", came, hexOf(digest)), err
}

func (c *caller) do(what string, a, b int) (string, error) {
	switch what {
	case "requests":
		return c.requests(a, b)
	case "give", "slow":
		return c.give(a, what == "slow")
	case "take":
		return c.take(a)
	case "half":
		return c.half(a)
	}
	return "closed", c.conn.Close()
}

func open(address string, index int) *caller {
	conn, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		panic(err)
	}
	return &caller{conn.(*net.TCPConn), bufio.NewReader(conn), index * step}
}

func call(address string, connections int) {
	callers := make([]*caller, connections)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := append(strings.Fields(lines.Text()), "0", "0")
		a, _ := strconv.Atoi(words[1])
		b, _ := strconv.Atoi(words[2])
		if words[0] == "open" {
			for index := range callers {
				callers[index] = open(address, index)
			}
			fmt.Println("opened")
			continue
		}
		told := make([]string, connections)
		var all sync.WaitGroup
		for index, one := range callers {
			all.Add(1)
			go func(index int, one *caller) {
				defer all.Done()
				var err error
				if told[index], err = one.do(words[0], a, b); err != nil {
					told[index] = strings.ReplaceAll("error:"+err.Error(), " ", "-")
				}
			}(index, one)
		}
		all.Wait()
		fmt.Println(strings.Join(told, " "))
	}
}

func serveHTTP(port string) {
	http.HandleFunc("/give", func(out http.ResponseWriter, in *http.Request) {
		count, _ := strconv.Atoi(in.URL.Query().Get("bytes"))
		_ = write(out, count, 0)
	})
	http.HandleFunc("/take", func(out http.ResponseWriter, in *http.Request) {
		digest := sha256.New()
		_, _ = io.Copy(digest, in.Body)
		fmt.Fprintln(out, hexOf(digest))
	})
	http.HandleFunc("/none", func(out http.ResponseWriter, in *http.Request) { out.WriteHeader(204) })
	listener, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, nil))
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2])
	case "http":
		serveHTTP(os.Args[2])
	default:
		connections, _ := strconv.Atoi(os.Args[4])
		call(net.JoinHostPort(os.Args[2], os.Args[3]), connections)
	}
}
