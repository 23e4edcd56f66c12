// grpc-go, as the table of the runner has it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "quotelife.dev/quote_expiry/v1"
)

const (
	timeout    = 10 * time.Second
	held       = 150 * time.Millisecond
	heldRounds = 3
	heldAtOnce = 100
	streamed   = 200
	batched    = 50
	small      = 7000 // bytes of metadata, below and above what the service takes
	large      = 9000
)

var given = map[string]string{"calls": "1000", "at_once": "64", "seconds": "3"}

type kit struct {
	connection *grpc.ClientConn
	stub       pb.QuoteExpiryServiceClient
}

func number(name string) int {
	value, err := strconv.Atoi(given[name])
	if err != nil {
		panic(name + ": " + err.Error())
	}
	return value
}

func dial() (*grpc.ClientConn, error) {
	how := insecure.NewCredentials()
	if ca, ok := given["ca"]; ok {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		config.RootCAs.AppendCertsFromPEM(pem)
		if own, ok := given["certificate"]; ok {
			pair, err := tls.LoadX509KeyPair(own, given["key"])
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		how = credentials.NewTLS(config)
	}
	return grpc.NewClient("passthrough:///"+given["target"], grpc.WithTransportCredentials(how))
}

func request() *pb.GetExpiryRequest {
	return &pb.GetExpiryRequest{Instrument: "BTC-USDT", Side: pb.Side_SIDE_BUY}
}

func hold() *pb.GetExpiryRequest {
	asked := request()
	asked.RfqId = "hold"
	return asked
}

func tagged(tag uint64) *pb.StreamExpiryRequest {
	return &pb.StreamExpiryRequest{Tag: tag, Request: request()}
}

func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}

func expect(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("expected %v, got %v", code, err)
	}
	return nil
}

func unary(k kit) (string, error) {
	ids := map[string]bool{}
	for range 20 {
		ctx, done := within()
		reply, err := k.stub.GetExpiry(ctx, request())
		done()
		if err != nil {
			return "", err
		}
		if reply.Decision != pb.Decision_DECISION_QUOTE || ids[reply.DecisionId] {
			return "", fmt.Errorf("answer %v", reply)
		}
		ids[reply.DecisionId] = true
	}
	return "", nil
}

func stream(k kit) (string, error) {
	ctx, done := within()
	defer done()
	call, err := k.stub.StreamExpiry(ctx)
	if err != nil {
		return "", err
	}
	go func() {
		for tag := uint64(1); tag <= streamed; tag++ {
			if call.Send(tagged(tag)) != nil {
				return
			}
		}
		_ = call.CloseSend()
	}()
	for tag := uint64(1); ; tag++ {
		reply, err := call.Recv()
		if errors.Is(err, io.EOF) && tag == streamed+1 {
			return "", nil
		}
		if err != nil || reply.Tag != tag {
			return "", fmt.Errorf("at %d: %v, %v", tag, reply, err)
		}
	}
}

func serverStream(k kit) (string, error) {
	ctx, done := within()
	defer done()
	watch, err := grpc_health_v1.NewHealthClient(k.connection).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return "", err
	}
	first, err := watch.Recv()
	if err != nil || first.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return "", fmt.Errorf("%v, %v", first, err)
	}
	done()
	_, err = watch.Recv()
	return "", expect(err, codes.Canceled)
}

func watch(k kit) (string, error) {
	ctx, done := within()
	defer done()
	call, err := k.stub.WatchQuotes(ctx)
	if err != nil {
		return "", err
	}
	open := &pb.WatchOpen{Owner: "go", HeartbeatIntervalNs: int64(5 * time.Second)}
	if err := call.Send(&pb.WatchQuotesRequest{Message: &pb.WatchQuotesRequest_Open{Open: open}}); err != nil {
		return "", err
	}
	opened, registered, heartbeat := false, false, false
	for {
		message, err := call.Recv()
		if errors.Is(err, io.EOF) && opened && registered && heartbeat {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("opened %v, registered %v, heartbeat %v: %w", opened, registered, heartbeat, err)
		}
		told := []*pb.WatchQuotesResponse{message}
		if batch := message.GetBatch(); batch != nil {
			told = batch.Messages
		}
		for _, each := range told {
			switch each.Message.(type) {
			case *pb.WatchQuotesResponse_Opened:
				opened = true
				register := &pb.WatchRegister{QuoteId: "q-1", Quote: request()}
				err = call.Send(&pb.WatchQuotesRequest{Message: &pb.WatchQuotesRequest_Register{Register: register}})
			case *pb.WatchQuotesResponse_Registered:
				registered = true
			case *pb.WatchQuotesResponse_Heartbeat:
				if !registered || heartbeat {
					continue
				}
				heartbeat = true
				update := &pb.WatchUpdate{QuoteId: "q-1", State: pb.QuoteState_QUOTE_STATE_CANCELLED}
				err = call.Send(&pb.WatchQuotesRequest{Message: &pb.WatchQuotesRequest_Update{Update: update}})
				_ = call.CloseSend()
			}
			if err != nil {
				return "", err
			}
		}
	}
}

func deadline(k kit) (string, error) {
	began := time.Now()
	ctx, done := context.WithTimeout(context.Background(), held)
	defer done()
	_, err := k.stub.GetExpiry(ctx, hold())
	if spent := time.Since(began); spent < held*9/10 || spent > 2*time.Second {
		return "", fmt.Errorf("after %v", spent)
	}
	return "", expect(err, codes.DeadlineExceeded)
}

func cancel(k kit) (string, error) {
	for range heldRounds {
		ctx, stop := context.WithCancel(context.Background())
		ends := make(chan error, heldAtOnce)
		for range heldAtOnce {
			go func() {
				_, err := k.stub.GetExpiry(ctx, hold())
				ends <- err
			}()
		}
		time.Sleep(held)
		stop()
		for range heldAtOnce {
			if err := expect(<-ends, codes.Canceled); err != nil {
				return "", err
			}
		}
	}
	return unary(k)
}

func wrong(k kit) (string, error) {
	ctx, done := within()
	defer done()
	asked, price := request(), "-1"
	asked.Price = &price
	_, err := k.stub.GetExpiry(ctx, asked)
	if err := expect(err, codes.InvalidArgument); err != nil {
		return "", err
	}
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && bad.FieldViolations[0].Field == "price" {
			return "", nil
		}
	}
	return "", fmt.Errorf("details %v", status.Convert(err).Details())
}

func largeMetadata(k kit) (string, error) {
	ctx, done := within()
	defer done()
	beside, err := k.stub.StreamExpiry(ctx)
	if err != nil {
		return "", err
	}
	exchange := func(tag uint64) error {
		if err := beside.Send(tagged(tag)); err != nil {
			return err
		}
		reply, err := beside.Recv()
		if err == nil && reply.Tag != tag {
			err = fmt.Errorf("tag %d for %d", reply.Tag, tag)
		}
		return err
	}
	if err := exchange(1); err != nil {
		return "", err
	}
	with := func(size int) error {
		_, err := k.stub.GetExpiry(metadata.AppendToOutgoingContext(ctx, "x-large", strings.Repeat("a", size)), request())
		return err
	}
	if err := with(small); err != nil {
		return "", err
	}
	tooLarge := with(large)
	if err := exchange(2); err != nil {
		return "", fmt.Errorf("the connection did not outlive it: %w", err)
	}
	// A limit that the service tells is kept by this client itself, which calls it INTERNAL.
	message := status.Convert(tooLarge).Message()
	if status.Code(tooLarge) == codes.Internal && strings.Contains(message, "maximum size") {
		return "kept by the client: " + message, nil
	}
	return message, expect(tooLarge, codes.ResourceExhausted)
}

func compressed(k kit) (string, error) {
	ctx, done := within()
	defer done()
	batch := &pb.BatchGetExpiryRequest{}
	for range batched {
		batch.Requests = append(batch.Requests, request())
	}
	reply, err := k.stub.BatchGetExpiry(ctx, batch, grpc.UseCompressor(gzip.Name))
	if err == nil && len(reply.Results) != batched {
		err = fmt.Errorf("%d results", len(reply.Results))
	}
	return "", err
}

func refused(k kit) (string, error) {
	ctx, done := within()
	defer done()
	_, err := k.stub.GetExpiry(ctx, request())
	return "", expect(err, codes.Unavailable)
}

func workers(k kit, more func() bool, allowed codes.Code) (string, error) {
	began := time.Now()
	var lock sync.Mutex
	var group sync.WaitGroup
	ends := map[codes.Code]int{}
	for range number("at_once") {
		group.Add(1)
		go func() {
			defer group.Done()
			mine := map[codes.Code]int{}
			for more() {
				ctx, done := within()
				_, err := k.stub.GetExpiry(ctx, request())
				done()
				mine[status.Code(err)]++
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			for code, count := range mine {
				ends[code] += count
			}
		}()
	}
	group.Wait()
	var words []string
	bad := ends[codes.OK] == 0
	for code, count := range ends {
		words = append(words, fmt.Sprintf("%v %d", code, count))
		bad = bad || code != codes.OK && code != allowed
	}
	sort.Strings(words)
	note := fmt.Sprintf("%s; %.0f/s", strings.Join(words, ", "), float64(ends[codes.OK])/time.Since(began).Seconds())
	if bad {
		return "", errors.New(note)
	}
	return note, nil
}

func load(k kit) (string, error) {
	var asked atomic.Int64
	calls := int64(number("calls"))
	return workers(k, func() bool { return asked.Add(1) <= calls }, codes.OK)
}

func lasting(k kit, allowed codes.Code) (string, error) {
	end := time.Now().Add(time.Duration(number("seconds")) * time.Second)
	return workers(k, func() bool { return time.Now().Before(end) }, allowed)
}

var cases = map[string]func(kit) (string, error){
	"unary": unary, "stream": stream, "server_stream": serverStream, "watch": watch, "deadline": deadline,
	"cancel": cancel, "error": wrong, "metadata": largeMetadata, "gzip": compressed, "refused": refused, "load": load,
	"goaway": func(k kit) (string, error) { return lasting(k, codes.OK) },
	"drain":  func(k kit) (string, error) { return lasting(k, codes.Unavailable) },
}

func run(name string) (string, error) {
	connection, err := dial()
	if err != nil {
		return "", err
	}
	defer connection.Close()
	return cases[name](kit{connection, pb.NewQuoteExpiryServiceClient(connection)})
}

func main() {
	for _, each := range os.Args[1:] {
		name, value, _ := strings.Cut(each, "=")
		given[name] = value
	}
	for _, name := range strings.Split(given["cases"], ",") {
		note, err := run(name)
		if err != nil {
			note = err.Error()
		}
		line, _ := json.Marshal(map[string]any{"case": name, "ok": err == nil, "note": note})
		fmt.Println(string(line))
	}
}
