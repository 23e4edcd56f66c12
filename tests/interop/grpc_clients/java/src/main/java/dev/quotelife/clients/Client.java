package dev.quotelife.clients;

import com.google.rpc.BadRequest;
import dev.quotelife.quote_expiry.v1.BatchGetExpiryRequest;
import dev.quotelife.quote_expiry.v1.Decision;
import dev.quotelife.quote_expiry.v1.GetExpiryRequest;
import dev.quotelife.quote_expiry.v1.GetExpiryResponse;
import dev.quotelife.quote_expiry.v1.QuoteExpiryServiceGrpc;
import dev.quotelife.quote_expiry.v1.QuoteState;
import dev.quotelife.quote_expiry.v1.Side;
import dev.quotelife.quote_expiry.v1.StreamExpiryRequest;
import dev.quotelife.quote_expiry.v1.StreamExpiryResponse;
import dev.quotelife.quote_expiry.v1.WatchOpen;
import dev.quotelife.quote_expiry.v1.WatchQuotesRequest;
import dev.quotelife.quote_expiry.v1.WatchQuotesResponse;
import dev.quotelife.quote_expiry.v1.WatchRegister;
import dev.quotelife.quote_expiry.v1.WatchUpdate;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BooleanSupplier;

/** grpc-java, as the table of the runner has it. */
public final class Client {
  private static final long TIMEOUT_S = 10;
  private static final long HELD_MS = 150;
  private static final int HELD_ROUNDS = 3;
  private static final int HELD_AT_ONCE = 100;
  private static final int STREAMED = 200;
  private static final int BATCHED = 50;
  private static final int SMALL = 7000; // bytes of metadata, below and above what the service takes
  private static final int LARGE = 9000;
  private static final int THREADS_MAX = 16;

  private static final Map<String, String> given = new HashMap<>();

  private final ManagedChannel channel;

  private Client(ManagedChannel channel) {
    this.channel = channel;
  }

  /** What a stream tells, in order: messages, then an error or the end. */
  private static final class Heard<T> implements StreamObserver<T> {
    private static final Object END = new Object();
    private final BlockingQueue<Object> all = new LinkedBlockingQueue<>();

    @Override
    public void onNext(T message) {
      all.add(message);
    }

    @Override
    public void onError(Throwable error) {
      all.add(error);
    }

    @Override
    public void onCompleted() {
      all.add(END);
    }

    /** The next message, or null at the end. */
    @SuppressWarnings("unchecked")
    T next() throws Exception {
      Object told = all.poll(TIMEOUT_S, TimeUnit.SECONDS);
      check(told != null, "nothing was heard");
      if (told instanceof Exception error) {
        throw error;
      }
      return told == END ? null : (T) told;
    }
  }

  private static void check(boolean good, String words) {
    if (!good) {
      throw new IllegalStateException(words);
    }
  }

  private QuoteExpiryServiceGrpc.QuoteExpiryServiceBlockingStub stub() {
    return QuoteExpiryServiceGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_S, TimeUnit.SECONDS);
  }

  private QuoteExpiryServiceGrpc.QuoteExpiryServiceStub streams() {
    return QuoteExpiryServiceGrpc.newStub(channel).withDeadlineAfter(TIMEOUT_S, TimeUnit.SECONDS);
  }

  private static GetExpiryRequest.Builder request() {
    return GetExpiryRequest.newBuilder().setInstrument("BTC-USDT").setSide(Side.SIDE_BUY);
  }

  private static StreamExpiryRequest tagged(long tag) {
    return StreamExpiryRequest.newBuilder().setTag(tag).setRequest(request()).build();
  }

  private interface Call {
    void run() throws Exception;
  }

  private static StatusRuntimeException failed(Call call, Status.Code code) throws Exception {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      check(error.getStatus().getCode() == code, "expected " + code + ", got " + error.getStatus());
      return error;
    }
    throw new IllegalStateException("the call was answered");
  }

  private String unary() {
    Set<String> ids = new HashSet<>();
    for (int i = 0; i < 20; i++) {
      GetExpiryResponse reply = stub().getExpiry(request().build());
      check(reply.getDecision() == Decision.DECISION_QUOTE, "answer " + reply);
      check(ids.add(reply.getDecisionId()), "decision twice: " + reply.getDecisionId());
    }
    return "";
  }

  private String stream() throws Exception {
    Heard<StreamExpiryResponse> heard = new Heard<>();
    StreamObserver<StreamExpiryRequest> asked = streams().streamExpiry(heard);
    for (long tag = 1; tag <= STREAMED; tag++) {
      asked.onNext(tagged(tag));
    }
    asked.onCompleted();
    for (long tag = 1; tag <= STREAMED; tag++) {
      check(heard.next().getTag() == tag, "not in order at " + tag);
    }
    check(heard.next() == null, "more answers than requests");
    return "";
  }

  private String serverStream() throws Exception {
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      Context before = context.attach();
      try {
        Iterator<HealthCheckResponse> watch =
            HealthGrpc.newBlockingStub(channel)
                .withDeadlineAfter(TIMEOUT_S, TimeUnit.SECONDS)
                .watch(HealthCheckRequest.getDefaultInstance());
        check(watch.next().getStatus() == HealthCheckResponse.ServingStatus.SERVING, "not serving");
        context.cancel(null);
        failed(watch::next, Status.Code.CANCELLED);
      } finally {
        context.detach(before);
      }
    }
    return "";
  }

  private String watch() throws Exception {
    Heard<WatchQuotesResponse> heard = new Heard<>();
    StreamObserver<WatchQuotesRequest> said = streams().watchQuotes(heard);
    WatchOpen.Builder open = WatchOpen.newBuilder().setOwner("java").setHeartbeatIntervalNs(5_000_000_000L);
    said.onNext(WatchQuotesRequest.newBuilder().setOpen(open).build());
    boolean opened = false;
    boolean registered = false;
    boolean heartbeat = false;
    for (WatchQuotesResponse message; (message = heard.next()) != null; ) {
      List<WatchQuotesResponse> told =
          message.hasBatch() ? message.getBatch().getMessagesList() : List.of(message);
      for (WatchQuotesResponse each : told) {
        if (each.hasOpened()) {
          opened = true;
          WatchRegister register = WatchRegister.newBuilder().setQuoteId("q-1").setQuote(request()).build();
          said.onNext(WatchQuotesRequest.newBuilder().setRegister(register).build());
        } else if (each.hasRegistered()) {
          registered = true;
        } else if (each.hasHeartbeat() && registered && !heartbeat) {
          heartbeat = true;
          WatchUpdate update =
              WatchUpdate.newBuilder().setQuoteId("q-1").setState(QuoteState.QUOTE_STATE_CANCELLED).build();
          said.onNext(WatchQuotesRequest.newBuilder().setUpdate(update).build());
          said.onCompleted();
        }
      }
    }
    check(opened && registered && heartbeat, opened + ", " + registered + ", " + heartbeat);
    return "";
  }

  private String deadline() throws Exception {
    unary(); // connected, and compiled: the deadline is to pass in the service
    long began = System.nanoTime();
    GetExpiryRequest held = request().setRfqId("hold").build();
    failed(
        () ->
            QuoteExpiryServiceGrpc.newBlockingStub(channel)
                .withDeadlineAfter(HELD_MS, TimeUnit.MILLISECONDS)
                .getExpiry(held),
        Status.Code.DEADLINE_EXCEEDED);
    long spentMs = (System.nanoTime() - began) / 1_000_000;
    check(spentMs >= HELD_MS * 9 / 10 && spentMs < 2000, "after " + spentMs + " ms");
    return "";
  }

  private String cancel() throws Exception {
    unary();
    GetExpiryRequest held = request().setRfqId("hold").build();
    for (int round = 0; round < HELD_ROUNDS; round++) {
      List<Future<GetExpiryResponse>> calls = new ArrayList<>();
      for (int i = 0; i < HELD_AT_ONCE; i++) {
        calls.add(QuoteExpiryServiceGrpc.newFutureStub(channel).getExpiry(held));
      }
      Thread.sleep(HELD_MS);
      for (Future<GetExpiryResponse> each : calls) {
        check(each.cancel(true) || each.get() == null, "a held call was answered");
      }
    }
    return unary();
  }

  private String error() throws Exception {
    StatusRuntimeException error =
        failed(() -> stub().getExpiry(request().setPrice("-1").build()), Status.Code.INVALID_ARGUMENT);
    BadRequest bad = StatusProto.fromThrowable(error).getDetails(0).unpack(BadRequest.class);
    check(bad.getFieldViolations(0).getField().equals("price"), bad.toString());
    return "";
  }

  private GetExpiryResponse withMetadata(int size) {
    Metadata metadata = new Metadata();
    metadata.put(Metadata.Key.of("x-large", Metadata.ASCII_STRING_MARSHALLER), "a".repeat(size));
    return stub()
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
        .getExpiry(request().build());
  }

  private String metadata() throws Exception {
    Heard<StreamExpiryResponse> heard = new Heard<>();
    StreamObserver<StreamExpiryRequest> beside = streams().streamExpiry(heard);
    beside.onNext(tagged(1));
    check(heard.next().getTag() == 1, "no answer");
    withMetadata(SMALL);
    StatusRuntimeException error = null;
    try {
      withMetadata(LARGE);
    } catch (StatusRuntimeException thrown) {
      error = thrown;
    }
    check(error != null, "the call was answered");
    beside.onNext(tagged(2));
    check(heard.next().getTag() == 2, "the connection did not outlive it");
    beside.onCompleted();
    Status status = error.getStatus();
    // A limit that the service tells is kept by this client itself, which calls it INTERNAL.
    if (status.getCode() == Status.Code.INTERNAL && status.getCause() != null) {
      String words = String.valueOf(status.getCause().getMessage());
      check(words.contains("size"), status + ": " + words);
      return "kept by the client: " + words;
    }
    check(status.getCode() == Status.Code.RESOURCE_EXHAUSTED, status.toString());
    return status.getDescription();
  }

  private String gzip() {
    BatchGetExpiryRequest.Builder batch = BatchGetExpiryRequest.newBuilder();
    for (int i = 0; i < BATCHED; i++) {
      batch.addRequests(request());
    }
    int results = stub().withCompression("gzip").batchGetExpiry(batch.build()).getResultsCount();
    check(results == BATCHED, results + " results");
    return "";
  }

  private String refused() throws Exception {
    failed(() -> stub().getExpiry(request().build()), Status.Code.UNAVAILABLE);
    return "";
  }

  private String threads(BooleanSupplier more, Status.Code allowed) throws Exception {
    Map<Status.Code, Long> ends = new EnumMap<>(Status.Code.class);
    List<Thread> threads = new ArrayList<>();
    long began = System.nanoTime();
    for (int i = 0; i < Math.min(THREADS_MAX, Integer.parseInt(given.get("at_once"))); i++) {
      threads.add(
          new Thread(
              () -> {
                Map<Status.Code, Long> mine = new EnumMap<>(Status.Code.class);
                while (more.getAsBoolean()) {
                  Status.Code code = Status.Code.OK;
                  try {
                    stub().getExpiry(request().build());
                  } catch (StatusRuntimeException error) {
                    code = error.getStatus().getCode();
                  }
                  mine.merge(code, 1L, Long::sum);
                }
                synchronized (ends) {
                  mine.forEach((code, count) -> ends.merge(code, count, Long::sum));
                }
              }));
    }
    for (Thread each : threads) {
      each.start();
    }
    for (Thread each : threads) {
      each.join();
    }
    long good = ends.getOrDefault(Status.Code.OK, 0L);
    String note = new TreeMap<>(ends) + String.format("; %.0f/s", good * 1e9 / (System.nanoTime() - began));
    Set<Status.Code> bad = new HashSet<>(ends.keySet());
    bad.remove(Status.Code.OK);
    bad.remove(allowed);
    check(good > 0 && bad.isEmpty(), note);
    return note;
  }

  private String load() throws Exception {
    AtomicLong left = new AtomicLong(Long.parseLong(given.get("calls")));
    return threads(() -> left.getAndDecrement() > 0, Status.Code.OK);
  }

  private String lasting(Status.Code allowed) throws Exception {
    long end = System.nanoTime() + Long.parseLong(given.get("seconds")) * 1_000_000_000L;
    return threads(() -> System.nanoTime() < end, allowed);
  }

  private String run(String name) throws Exception {
    return switch (name) {
      case "unary" -> unary();
      case "stream" -> stream();
      case "server_stream" -> serverStream();
      case "watch" -> watch();
      case "deadline" -> deadline();
      case "cancel" -> cancel();
      case "error" -> error();
      case "metadata" -> metadata();
      case "gzip" -> gzip();
      case "refused" -> refused();
      case "load" -> load();
      case "goaway" -> lasting(Status.Code.OK);
      case "drain" -> lasting(Status.Code.UNAVAILABLE);
      default -> throw new IllegalArgumentException("no case " + name);
    };
  }

  private static ManagedChannel open() throws Exception {
    NettyChannelBuilder builder = NettyChannelBuilder.forTarget("dns:///" + given.get("target"));
    if (!given.containsKey("ca")) {
      return builder.usePlaintext().build();
    }
    var context = GrpcSslContexts.forClient().trustManager(new File(given.get("ca")));
    if (given.containsKey("certificate")) {
      context.keyManager(new File(given.get("certificate")), new File(given.get("key")));
    }
    return builder.sslContext(context.build()).build();
  }

  private static String quoted(String text) {
    StringBuilder all = new StringBuilder("\"");
    for (char each : text.toCharArray()) {
      if (each == '"' || each == '\\') {
        all.append('\\').append(each);
      } else {
        all.append(each < ' ' ? ' ' : each);
      }
    }
    return all.append('"').toString();
  }

  public static void main(String[] arguments) throws Exception {
    given.putAll(Map.of("calls", "1000", "at_once", "64", "seconds", "3"));
    for (String each : arguments) {
      String[] parts = each.split("=", 2);
      given.put(parts[0], parts[1]);
    }
    for (String name : given.get("cases").split(",")) {
      ManagedChannel channel = open();
      boolean good = false;
      String note;
      try {
        note = new Client(channel).run(name);
        good = true;
      } catch (ExecutionException error) {
        note = String.valueOf(error.getCause());
      } catch (Exception error) {
        note = error.toString();
      } finally {
        channel.shutdownNow().awaitTermination(TIMEOUT_S, TimeUnit.SECONDS);
      }
      System.out.printf("{\"case\":%s,\"ok\":%b,\"note\":%s}%n", quoted(name), good, quoted(note));
    }
  }
}
