// Command goclient makes the gRPC calls that a plan on standard input asks for, with Go's own gRPC, and says as JSON on
// standard output what was heard and how each ended.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // by its name, as Call.Encoding
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Plan is what to do over one channel; Spread is how long after each other, in milliseconds, its calls begin.
type Plan struct {
	Address string
	TLS     bool
	Spread  int
	Window  int32
	Calls   []Call
}

// Call is one stream in both directions. In lockstep each message waits for the answer to the one before.
type Call struct {
	Path     string
	Messages [][]byte
	Encoding string
	Timeout  int
	Metadata map[string]string
	Lockstep bool
	Cancel   int
}

// Told is what became of a call; Code and Details are gRPC's status.
type Told struct {
	Heard   [][]byte
	Code    int
	Details string
}

// raw leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte{}, data...)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "goclient:", err)
		os.Exit(1)
	}
}

func run() error {
	var plan Plan
	if err := json.NewDecoder(os.Stdin).Decode(&plan); err != nil {
		return err
	}
	secure := insecure.NewCredentials()
	if plan.TLS {
		secure = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(secure)}
	if plan.Window > 0 {
		options = append(options, grpc.WithInitialWindowSize(plan.Window), grpc.WithInitialConnWindowSize(plan.Window))
	}
	channel, err := grpc.NewClient("passthrough:///"+plan.Address, options...)
	if err != nil {
		return err
	}
	defer channel.Close()
	told := make([]Told, len(plan.Calls))
	var running sync.WaitGroup
	for number := range plan.Calls {
		running.Go(func() { told[number] = place(channel, plan.Calls[number]) })
		time.Sleep(time.Duration(plan.Spread) * time.Millisecond)
	}
	running.Wait()
	return json.NewEncoder(os.Stdout).Encode(told)
}

func place(channel *grpc.ClientConn, call Call) Told {
	patience := 60 * time.Second
	if call.Timeout > 0 {
		patience = time.Duration(call.Timeout) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(call.Metadata))
	options := []grpc.CallOption{
		grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1 << 28), grpc.MaxCallSendMsgSize(1 << 28),
	}
	if call.Encoding != "" {
		options = append(options, grpc.UseCompressor(call.Encoding))
	}
	stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, call.Path, options...)
	if err != nil {
		return ended(nil, err)
	}
	heard := [][]byte{}
	listen := func() error {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == nil {
			heard = append(heard, message)
			if len(heard) == call.Cancel {
				cancel()
			}
		}
		return err
	}
	if call.Lockstep {
		err = inTurn(stream, call.Messages, listen)
	} else {
		go sendAll(stream, call.Messages)
	}
	for err == nil {
		err = listen()
	}
	return ended(heard, err)
}

func inTurn(stream grpc.ClientStream, messages [][]byte, listen func() error) error {
	for _, message := range messages {
		if stream.SendMsg(&message) != nil {
			return nil // how it ended is told to who listens
		}
		if err := listen(); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func sendAll(stream grpc.ClientStream, messages [][]byte) {
	for _, message := range messages {
		if stream.SendMsg(&message) != nil {
			return
		}
	}
	_ = stream.CloseSend()
}

func ended(heard [][]byte, err error) Told {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	found := status.Convert(err)
	return Told{heard, int(found.Code()), found.Message()}
}
