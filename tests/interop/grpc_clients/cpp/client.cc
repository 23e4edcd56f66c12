// grpc C++, as the table of the runner has it. Written for the version of Debian 12 (1.51) and later.
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "health.grpc.pb.h"
#include "quote_expiry/v1/quote_expiry_service.grpc.pb.h"

namespace api = quote_expiry::v1;
namespace health = grpc::health::v1;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kTimeout{10'000};
constexpr milliseconds kHeld{150};
constexpr int kHeldRounds = 3, kHeldAtOnce = 100, kStreamed = 200, kBatched = 50;
constexpr int kSmall = 7000, kLarge = 9000;  // bytes of metadata, below and above what the service takes
constexpr int kQueues = 2;                   // of the load, each with a thread and a connection of its own

std::map<std::string, std::string> given{{"calls", "1000"}, {"at_once", "64"}, {"seconds", "3"}};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check(bool good, const std::string& words) {
  if (!good) throw Failure(words);
}

std::string words(const grpc::Status& status) {
  return "code " + std::to_string(status.error_code()) + ": " + status.error_message();
}

void expect(const grpc::Status& status, grpc::StatusCode code) {
  check(status.error_code() == code, "expected code " + std::to_string(code) + ", got " + words(status));
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  check(file.good(), path + " cannot be read");
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

std::shared_ptr<grpc::Channel> open() {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (given.count("ca")) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = contents(given["ca"]);
    if (given.count("certificate")) {
      options.pem_private_key = contents(given["key"]);
      options.pem_cert_chain = contents(given["certificate"]);
    }
    credentials = grpc::SslCredentials(options);
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(given["target"], credentials, arguments);
}

api::GetExpiryRequest request() {
  api::GetExpiryRequest asked;
  asked.set_instrument("BTC-USDT");
  asked.set_side(api::SIDE_BUY);
  return asked;
}

api::GetExpiryRequest hold() {
  api::GetExpiryRequest asked = request();
  asked.set_rfq_id("hold");
  return asked;
}

api::StreamExpiryRequest tagged(uint64_t tag) {
  api::StreamExpiryRequest asked;
  asked.set_tag(tag);
  *asked.mutable_request() = request();
  return asked;
}

void limit(grpc::ClientContext& context, milliseconds after = kTimeout) {
  context.set_deadline(std::chrono::system_clock::now() + after);
}

struct Kit {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<api::QuoteExpiryService::Stub> stub;
};

std::string unary(Kit& kit) {
  std::set<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    limit(context);
    api::GetExpiryResponse reply;
    expect(kit.stub->GetExpiry(&context, request(), &reply), grpc::StatusCode::OK);
    check(reply.decision() == api::DECISION_QUOTE, reply.ShortDebugString());
    check(ids.insert(reply.decision_id()).second, "a decision came twice");
  }
  return "";
}

std::string stream(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  auto call = kit.stub->StreamExpiry(&context);
  std::thread writing([&] {
    for (int tag = 1; tag <= kStreamed; ++tag) call->Write(tagged(tag));
    call->WritesDone();
  });
  api::StreamExpiryResponse reply;
  uint64_t tag = 0;
  bool ordered = true;
  while (call->Read(&reply)) ordered = ordered && reply.tag() == ++tag;
  writing.join();
  expect(call->Finish(), grpc::StatusCode::OK);
  check(ordered && tag == kStreamed, std::to_string(tag) + " answers");
  return "";
}

std::string server_stream(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  auto call = health::Health::NewStub(kit.channel)->Watch(&context, health::HealthCheckRequest());
  health::HealthCheckResponse reply;
  check(call->Read(&reply) && reply.status() == health::HealthCheckResponse::SERVING, "not serving");
  context.TryCancel();
  check(!call->Read(&reply), "a message after the cancel");
  expect(call->Finish(), grpc::StatusCode::CANCELLED);
  return "";
}

std::string watch(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  auto call = kit.stub->WatchQuotes(&context);
  api::WatchQuotesRequest said;
  said.mutable_open()->set_owner("cpp");
  said.mutable_open()->set_heartbeat_interval_ns(5'000'000'000);
  call->Write(said);
  bool opened = false, registered = false, heartbeat = false;
  auto hear = [&](const api::WatchQuotesResponse& message) {
    if (message.has_opened()) {
      opened = true;
      said.mutable_register_()->set_quote_id("q-1");
      *said.mutable_register_()->mutable_quote() = request();
      call->Write(said);
    } else if (message.has_registered()) {
      registered = true;
    } else if (message.has_heartbeat() && registered && !heartbeat) {
      heartbeat = true;
      said.mutable_update()->set_quote_id("q-1");
      said.mutable_update()->set_state(api::QUOTE_STATE_CANCELLED);
      call->Write(said);
      call->WritesDone();
    }
  };
  api::WatchQuotesResponse message;
  while (call->Read(&message)) {
    if (message.has_batch()) {
      for (const auto& each : message.batch().messages()) hear(each);
    } else {
      hear(message);
    }
  }
  expect(call->Finish(), grpc::StatusCode::OK);
  check(opened && registered && heartbeat, "not opened, not registered, or no heartbeat");
  return "";
}

std::string deadline(Kit& kit) {
  const auto began = Clock::now();
  grpc::ClientContext context;
  limit(context, kHeld);
  api::GetExpiryResponse reply;
  expect(kit.stub->GetExpiry(&context, hold(), &reply), grpc::StatusCode::DEADLINE_EXCEEDED);
  const auto spent = Clock::now() - began;
  check(spent >= kHeld * 9 / 10 && spent < milliseconds(2000), "not when the deadline passed");
  return "";
}

// Calls that are answered through a completion queue.
struct Pending {
  grpc::ClientContext context;
  api::GetExpiryResponse reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<api::GetExpiryResponse>> reader;

  void begin(api::QuoteExpiryService::Stub& stub, grpc::CompletionQueue& queue, const api::GetExpiryRequest& asked) {
    reader = stub.AsyncGetExpiry(&context, asked, &queue);
    reader->Finish(&reply, &status, this);
  }
};

std::string cancel(Kit& kit) {
  for (int round = 0; round < kHeldRounds; ++round) {
    grpc::CompletionQueue queue;
    std::vector<std::unique_ptr<Pending>> calls;
    for (int i = 0; i < kHeldAtOnce; ++i) {
      calls.push_back(std::make_unique<Pending>());
      calls.back()->begin(*kit.stub, queue, hold());
    }
    std::this_thread::sleep_for(kHeld);
    for (auto& each : calls) each->context.TryCancel();
    void* tag;
    bool good;
    for (int i = 0; i < kHeldAtOnce; ++i) queue.Next(&tag, &good);
    queue.Shutdown();
    while (queue.Next(&tag, &good)) {
    }
    for (auto& each : calls) expect(each->status, grpc::StatusCode::CANCELLED);
  }
  return unary(kit);
}

std::string error(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  api::GetExpiryRequest asked = request();
  asked.set_price("-1");
  api::GetExpiryResponse reply;
  const grpc::Status status = kit.stub->GetExpiry(&context, asked, &reply);
  expect(status, grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  google::rpc::BadRequest bad;
  check(details.ParseFromString(status.error_details()) && details.details_size() > 0, "no details");
  check(details.details(0).UnpackTo(&bad), details.ShortDebugString());
  check(bad.field_violations(0).field() == "price", bad.ShortDebugString());
  return "";
}

grpc::Status sized(Kit& kit, int size) {
  grpc::ClientContext context;
  limit(context);
  context.AddMetadata("x-large", std::string(size, 'a'));
  api::GetExpiryResponse reply;
  return kit.stub->GetExpiry(&context, request(), &reply);
}

std::string metadata(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  auto beside = kit.stub->StreamExpiry(&context);
  api::StreamExpiryResponse reply;
  auto exchange = [&](uint64_t tag) {
    return beside->Write(tagged(tag)) && beside->Read(&reply) && reply.tag() == tag;
  };
  check(exchange(1), "no answer");
  expect(sized(kit, kSmall), grpc::StatusCode::OK);
  const grpc::Status status = sized(kit, kLarge);
  expect(status, grpc::StatusCode::RESOURCE_EXHAUSTED);
  check(exchange(2), "the connection did not outlive it");
  beside->WritesDone();
  return status.error_message().substr(0, 60);
}

std::string gzip(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  api::BatchGetExpiryRequest batch;
  for (int i = 0; i < kBatched; ++i) *batch.add_requests() = request();
  api::BatchGetExpiryResponse reply;
  expect(kit.stub->BatchGetExpiry(&context, batch, &reply), grpc::StatusCode::OK);
  check(reply.results_size() == kBatched, std::to_string(reply.results_size()) + " results");
  return "";
}

std::string refused(Kit& kit) {
  grpc::ClientContext context;
  limit(context);
  api::GetExpiryResponse reply;
  expect(kit.stub->GetExpiry(&context, request(), &reply), grpc::StatusCode::UNAVAILABLE);
  return "";
}

std::string loaded(const std::function<bool()>& more, grpc::StatusCode allowed) {
  std::mutex lock;
  std::map<int, int64_t> ends;
  const auto began = Clock::now();
  auto work = [&] {
    auto stub = api::QuoteExpiryService::NewStub(open());
    grpc::CompletionQueue queue;
    std::map<int, int64_t> mine;
    int waiting = 0;
    const api::GetExpiryRequest asked = request();
    auto ask = [&] {
      if (!more()) return;
      auto* call = new Pending;
      limit(call->context);
      call->begin(*stub, queue, asked);
      ++waiting;
    };
    for (int i = 0; i < std::stoi(given["at_once"]) / kQueues; ++i) ask();
    void* tag;
    bool good;
    while (waiting > 0 && queue.Next(&tag, &good)) {
      std::unique_ptr<Pending> call(static_cast<Pending*>(tag));
      --waiting;
      ++mine[call->status.error_code()];
      if (!call->status.ok()) std::this_thread::sleep_for(milliseconds(1));
      ask();
    }
    std::lock_guard<std::mutex> held(lock);
    for (const auto& [code, count] : mine) ends[code] += count;
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kQueues; ++i) threads.emplace_back(work);
  for (auto& each : threads) each.join();
  const double spent_s = std::chrono::duration<double>(Clock::now() - began).count();
  std::ostringstream note;
  bool good = ends[grpc::StatusCode::OK] > 0;
  for (const auto& [code, count] : ends) {
    good = good && (code == grpc::StatusCode::OK || code == allowed);
    note << (code == 0 ? "OK" : "code " + std::to_string(code)) << " " << count << "; ";
  }
  note << static_cast<int64_t>(ends[grpc::StatusCode::OK] / spent_s) << "/s";
  check(good, note.str());
  return note.str();
}

std::string load(Kit&) {
  std::atomic<int64_t> left{std::stoll(given["calls"])};
  return loaded([&] { return left.fetch_sub(1) > 0; }, grpc::StatusCode::OK);
}

std::string lasting(grpc::StatusCode allowed) {
  const auto end = Clock::now() + std::chrono::seconds(std::stoi(given["seconds"]));
  return loaded([end] { return Clock::now() < end; }, allowed);
}

std::string goaway(Kit&) { return lasting(grpc::StatusCode::OK); }
std::string drain(Kit&) { return lasting(grpc::StatusCode::UNAVAILABLE); }

const std::map<std::string, std::string (*)(Kit&)> kCases{
    {"unary", unary},   {"stream", stream},   {"server_stream", server_stream}, {"watch", watch},
    {"deadline", deadline}, {"cancel", cancel}, {"error", error},             {"metadata", metadata},
    {"gzip", gzip},     {"refused", refused}, {"load", load},                 {"goaway", goaway},
    {"drain", drain},
};

std::string quoted(const std::string& text) {
  std::string all = "\"";
  for (char each : text) {
    if (each == '"' || each == '\\') all += '\\';
    all += static_cast<unsigned char>(each) < ' ' ? ' ' : each;
  }
  return all + '"';
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string each = arguments[i];
    const auto at = each.find('=');
    given[each.substr(0, at)] = each.substr(at + 1);
  }
  std::istringstream names(given["cases"]);
  for (std::string name; std::getline(names, name, ',');) {
    bool good = true;
    std::string note;
    try {
      Kit kit{open(), nullptr};
      kit.stub = api::QuoteExpiryService::NewStub(kit.channel);
      note = kCases.at(name)(kit);
    } catch (const std::exception& thrown) {
      good = false;
      note = thrown.what();
    }
    std::printf("{\"case\":%s,\"ok\":%s,\"note\":%s}\n", quoted(name).c_str(), good ? "true" : "false",
                quoted(note).c_str());
    std::fflush(stdout);
  }
}
