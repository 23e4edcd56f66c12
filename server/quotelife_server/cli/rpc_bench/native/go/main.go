// A gRPC server in Go that decides nothing: it reads each request, and answers with one reply.
//
//	go-noop REPLY
//
// REPLY is a file with a serialised GetExpiryResponse. It listens on a free port of 127.0.0.1, which is the line that it
// prints, and ends when its standard input does.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "quotelife.dev/quote_expiry/v1"
)

type server struct{ reply *pb.GetExpiryResponse }

func getExpiry(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	request := new(pb.GetExpiryRequest)
	if err := decode(request); err != nil {
		return nil, err
	}
	return srv.(*server).reply, nil
}

func main() {
	bytes, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	reply := new(pb.GetExpiryResponse)
	if err := proto.Unmarshal(bytes, reply); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	serving.RegisterService(&grpc.ServiceDesc{
		ServiceName: "quote_expiry.v1.QuoteExpiryService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "GetExpiry", Handler: getExpiry}},
	}, &server{reply})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	log.Fatal(serving.Serve(listener))
}
