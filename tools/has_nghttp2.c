/* Compiles and links where the native gRPC front end can be built: nghttp2 is there, and new enough. */
#include <sys/types.h>
#include <nghttp2/nghttp2.h>
#if NGHTTP2_VERSION_NUM < 0x013400
#error "nghttp2 is too old: 1.52 or newer is needed"
#endif

int main(void) { return !nghttp2_version(NGHTTP2_VERSION_NUM); }
