// A gRPC server in C++ that decides nothing: it reads each request, and answers with a copy of one reply. Callback API.
//
//   noop_server REPLY
//
// REPLY is a file with a serialised GetExpiryResponse. It listens on a free port of 127.0.0.1, which is the line that it
// prints, and ends when its standard input does.
#include <chrono>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "quote_expiry/v1/quote_expiry_service.grpc.pb.h"

namespace {

using quote_expiry::v1::GetExpiryRequest;
using quote_expiry::v1::GetExpiryResponse;
using quote_expiry::v1::QuoteExpiryService;

class NoOp final : public QuoteExpiryService::CallbackService {
 public:
  explicit NoOp(GetExpiryResponse reply) : reply_(std::move(reply)) {}

  grpc::ServerUnaryReactor* GetExpiry(grpc::CallbackServerContext* context, const GetExpiryRequest*,
                                      GetExpiryResponse* response) override {
    *response = reply_;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const GetExpiryResponse reply_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  std::ifstream file(arguments[1], std::ios::binary);
  GetExpiryResponse reply;
  if (!file || !reply.ParseFromIstream(&file)) {
    std::cerr << arguments[1] << ": no GetExpiryResponse\n";
    return 1;
  }
  NoOp service(std::move(reply));
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server || !port) {
    std::cerr << "no port of 127.0.0.1 is to be had\n";
    return 1;
  }
  std::cout << "127.0.0.1:" << port << std::endl;
  std::cin.ignore(std::numeric_limits<std::streamsize>::max());
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  return 0;
}
