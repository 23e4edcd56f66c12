// A gRPC client in C++ that keeps calls in flight: asynchronous stubs, one thread, one completion queue.
//
//   client TARGET BODY ID_PREFIX unary|stream CONNECTIONS IN_FLIGHT WARM SECONDS [CA]
//
// TARGET is HOST:PORT or unix:PATH; BODY a file with a serialised GetExpiryRequest, whose request_id is ID_PREFIX and 16
// hexadecimal digits, another in each call. IN_FLIGHT calls, or messages of streams, are kept under way on all CONNECTIONS
// together. With CA, a PEM file, it speaks TLS. After WARM calls it says "ready", waits for a line, calls for SECONDS,
// waits for what is under way, and prints a line of JSON; times are nanoseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "quote_expiry/v1/quote_expiry_service.grpc.pb.h"

namespace {

using quote_expiry::v1::GetExpiryRequest;
using quote_expiry::v1::GetExpiryResponse;
using quote_expiry::v1::QuoteExpiryService;
using quote_expiry::v1::StreamExpiryRequest;
using quote_expiry::v1::StreamExpiryResponse;
using Stub = QuoteExpiryService::Stub;

constexpr auto kCallMax = std::chrono::seconds(10);

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What all calls have in common.
struct Load {
  grpc::CompletionQueue queue;
  GetExpiryRequest request;
  std::string prefix;
  uint64_t number = 0;
  bool going = true;  // new calls are begun
  long under_way = 0;
  long calls = 0, failed = 0, quoted = 0;
  std::vector<uint32_t> samples;
  std::string failure;

  void NextId() {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number++));
    request.set_request_id(prefix + digits);
  }

  void Answered(int64_t sent_ns, const GetExpiryResponse* reply) {
    ++calls;
    if (!reply) {
      ++failed;
    } else if (reply->decision() == quote_expiry::v1::DECISION_QUOTE) {
      ++quoted;
    }
    samples.push_back(static_cast<uint32_t>(std::min<int64_t>(NowNs() - sent_ns, UINT32_MAX)));
  }

  void Begin() {
    calls = failed = quoted = 0;
    samples.clear();
  }
};

// Something that waits in the queue.
struct Event {
  virtual ~Event() = default;
  virtual void Happened(bool ok) = 0;
};

// One place in flight: a call, and when it has been answered the next one.
class Place final : public Event {
 public:
  Place(Load& load, Stub& stub) : load_(load), stub_(stub) {}

  void Start() {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + kCallMax);
    load_.NextId();
    ++load_.under_way;
    sent_ns_ = NowNs();
    reader_ = stub_.AsyncGetExpiry(context_.get(), load_.request, &load_.queue);
    reader_->Finish(&reply_, &status_, this);
  }

  void Happened(bool ok) override {
    --load_.under_way;
    const bool fine = ok && status_.ok();
    if (!fine && load_.failure.empty()) load_.failure = status_.error_message();
    load_.Answered(sent_ns_, fine ? &reply_ : nullptr);
    if (load_.going) Start();
  }

 private:
  Load& load_;
  Stub& stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<GetExpiryResponse>> reader_;
  GetExpiryResponse reply_;
  grpc::Status status_;
  int64_t sent_ns_ = 0;
};

// One StreamExpiry: `most` messages under way, each answer followed by another message.
class Conversation final {
 public:
  Conversation(Load& load, Stub& stub, long most)
      : load_(load), most_(most), open_(*this, &Conversation::Opened), wrote_(*this, &Conversation::Wrote),
        read_(*this, &Conversation::Read), finished_(*this, &Conversation::Finished) {
    ++load_.under_way;
    stream_ = stub.AsyncStreamExpiry(&context_, &load_.queue, &open_);
  }

 private:
  struct Step final : Event {
    Step(Conversation& of, void (Conversation::*what)(bool)) : of(of), what(what) {}
    void Happened(bool ok) override { (of.*what)(ok); }
    Conversation& of;
    void (Conversation::*what)(bool);
  };

  void Opened(bool ok) {
    if (!ok) return End();
    stream_->Read(&reply_, &read_);
    Write();
  }

  void Write() {
    if (writing_ || ending_) return;
    if (!load_.going) {
      if (sent_.empty() && !closed_) {
        closed_ = writing_ = true;
        stream_->WritesDone(&wrote_);
      }
      return;
    }
    if (static_cast<long>(sent_.size()) >= most_) return;
    load_.NextId();
    message_.set_tag(load_.number);
    *message_.mutable_request() = load_.request;
    sent_.push_back(NowNs());
    writing_ = true;
    stream_->Write(message_, &wrote_);
  }

  void Wrote(bool ok) {
    writing_ = false;
    if (ok) return Write();
    if (!reading_) End();
  }

  void Read(bool ok) {
    if (!ok) {
      reading_ = false;
      if (!writing_) End();
      return;
    }
    const bool fine = reply_.result().has_response();
    if (!fine && load_.failure.empty()) load_.failure = reply_.result().fault().message();
    load_.Answered(sent_.front(), fine ? &reply_.result().response() : nullptr);
    sent_.pop_front();
    stream_->Read(&reply_, &read_);
    Write();
  }

  void End() {
    if (ending_) return;
    ending_ = true;
    stream_->Finish(&status_, &finished_);
  }

  void Finished(bool) {
    --load_.under_way;
    if (status_.ok()) return;
    load_.failure = status_.error_message();
    load_.failed += 1 + static_cast<long>(sent_.size());
  }

  Load& load_;
  const long most_;
  grpc::ClientContext context_;
  Step open_, wrote_, read_, finished_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<StreamExpiryRequest, StreamExpiryResponse>> stream_;
  StreamExpiryRequest message_;
  StreamExpiryResponse reply_;
  grpc::Status status_;
  std::deque<int64_t> sent_;
  bool writing_ = false, reading_ = true, closed_ = false, ending_ = false;
};

bool Step(Load& load) {
  void* tag = nullptr;
  bool ok = false;
  const auto end = std::chrono::system_clock::now() + 2 * kCallMax;
  if (load.queue.AsyncNext(&tag, &ok, end) != grpc::CompletionQueue::GOT_EVENT) return false;
  static_cast<Event*>(tag)->Happened(ok);
  return true;
}

std::string Contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    std::exit(1);
  }
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 9 && count != 10) {
    std::cerr << "client TARGET BODY ID_PREFIX unary|stream CONNECTIONS IN_FLIGHT WARM SECONDS [CA]\n";
    return 2;
  }
  const std::string target = arguments[1], kind = arguments[4];
  const long connections = std::atol(arguments[5]), in_flight = std::atol(arguments[6]), warm = std::atol(arguments[7]);
  const double seconds = std::atof(arguments[8]);
  Load load;
  load.samples.reserve(1 << 20);
  load.prefix = arguments[3];
  if (!load.request.ParseFromString(Contents(arguments[2]))) {
    std::cerr << arguments[2] << ": no GetExpiryRequest\n";
    return 1;
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (count == 10) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Contents(arguments[9]);
    credentials = grpc::SslCredentials(options);
  }
  std::vector<std::unique_ptr<Stub>> stubs;
  for (long i = 0; i < connections; ++i) {
    grpc::ChannelArguments options;
    options.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection each
    auto channel = grpc::CreateCustomChannel(target, credentials, options);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + kCallMax)) {
      std::cerr << target << ": no connection\n";
      return 1;
    }
    stubs.push_back(QuoteExpiryService::NewStub(channel));
  }
  std::vector<std::unique_ptr<Place>> places;
  std::vector<std::unique_ptr<Conversation>> conversations;
  if (kind == "stream") {
    for (long i = 0; i < connections; ++i) {
      conversations.push_back(std::make_unique<Conversation>(load, *stubs[i], in_flight / connections));
    }
  } else {
    for (long i = 0; i < in_flight; ++i) {
      places.push_back(std::make_unique<Place>(load, *stubs[i % connections]));
      places.back()->Start();
    }
  }
  bool alive = true;
  while (alive && load.calls < warm && !load.failed) alive = Step(load);
  if (!alive || load.failed) {
    std::cerr << "calls failed: " << load.failure << "\n";
    std::_Exit(1);
  }
  std::cout << "ready" << std::endl;
  std::string line;
  if (!std::getline(std::cin, line)) std::_Exit(1);
  load.Begin();
  const int64_t began_ns = NowNs(), stop_ns = began_ns + static_cast<int64_t>(seconds * 1e9);
  while (alive && NowNs() < stop_ns && load.under_way) alive = Step(load);
  load.going = false;
  while (alive && load.under_way) alive = Step(load);
  const int64_t wall_ns = NowNs() - began_ns;
  if (!alive || load.samples.empty()) {
    std::cerr << "calls hang: " << load.failure << "\n";
    std::_Exit(1);
  }
  std::sort(load.samples.begin(), load.samples.end());
  if (load.failed) std::cerr << "calls failed: " << load.failure << "\n";
  std::ostringstream out;
  out << "{\"calls\": " << load.calls << ", \"failed\": " << load.failed << ", \"quoted\": " << load.quoted
      << ", \"wall_ns\": " << wall_ns << ", \"p50_ns\": " << load.samples[load.samples.size() / 2]
      << ", \"p99_ns\": " << load.samples[load.samples.size() * 99 / 100] << "}";
  std::cout << out.str() << std::endl;
  std::_Exit(0);
}
