/* A CUDA runtime without a GPU: "device" memory is the host's, streams are in order and always done, kernels do nothing.
   Preloaded before torch, it lets torch initialise CUDA, allocate, copy, record events and count; fake_cuda.py computes
   the operations on the CPU. It counts what makes the host wait for a device. */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#undef cudaGetDeviceProperties
enum { STREAM_SYNC, DEVICE_SYNC, EVENT_SYNC, BLOCKING_COPY, H2D, D2H, LAUNCH, COUNTS };
static long counts[COUNTS];
static __thread int current;
static size_t used[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
typedef struct block { void *p; size_t n; int device; int host; struct block *next; } block;
static block *blocks;

static long setting(const char *name, long fallback) { const char *v = getenv(name); return v ? atol(v) : fallback; }
static int driver(void) { return (int)setting("FAKE_CUDA_DRIVER", CUDART_VERSION); }
static int devices(void) { return (int)setting("FAKE_CUDA_DEVICES", 1); }
static size_t memory(void) { return (size_t)setting("FAKE_CUDA_MEMORY", 80L << 30); }
static int lost;
long *fake_cuda_counts(void) { return counts; }
void fake_cuda_lose(void) { lost = 1; }
#define ALIVE if (lost) return cudaErrorIllegalAddress;
static void count(int kind) { __atomic_add_fetch(&counts[kind], 1, __ATOMIC_RELAXED); }

static cudaError_t get(void **p, size_t n, int host) {
  ALIVE
  if (!n) { *p = 0; return cudaSuccess; }
  pthread_mutex_lock(&lock);
  if (!host && used[current] + n > memory()) { pthread_mutex_unlock(&lock); return cudaErrorMemoryAllocation; }
  void *q = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (q == MAP_FAILED) { pthread_mutex_unlock(&lock); return cudaErrorMemoryAllocation; }
  block *b = malloc(sizeof *b); *b = (block){q, n, current, host, blocks}; blocks = b;
  if (!host) used[current] += n;
  pthread_mutex_unlock(&lock);
  *p = q; return cudaSuccess;
}
static cudaError_t drop(void *p) {
  pthread_mutex_lock(&lock);
  for (block **b = &blocks; *b; b = &(*b)->next) if ((*b)->p == p) {
    block *gone = *b; *b = gone->next; if (!gone->host) used[gone->device] -= gone->n; munmap(gone->p, gone->n); free(gone); break; }
  pthread_mutex_unlock(&lock);
  return cudaSuccess;
}
static block *of(const void *p) {
  for (block *b = blocks; b; b = b->next) if ((char *)p >= (char *)b->p && (char *)p < (char *)b->p + b->n) return b;
  return 0;
}
cudaError_t cudaMalloc(void **p, size_t n) { return get(p, n, 0); }
cudaError_t cudaFree(void *p) { ALIVE return drop(p); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned f) { return get(p, n, 1); }
cudaError_t cudaMallocHost(void **p, size_t n) { return get(p, n, 1); }
cudaError_t cudaFreeHost(void *p) { return drop(p); }
cudaError_t cudaHostRegister(void *p, size_t n, unsigned f) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void *p) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t *f, size_t *t) { *t = memory(); *f = *t - used[current]; return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  pthread_mutex_lock(&lock); block *b = of(p);
  a->type = !b ? cudaMemoryTypeUnregistered : b->host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  a->device = b ? b->device : -2; a->hostPointer = a->devicePointer = (void *)p;
  pthread_mutex_unlock(&lock);
  return cudaSuccess;
}
static cudaError_t copy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
  ALIVE memmove(d, s, n); if (k == cudaMemcpyHostToDevice) count(H2D); if (k == cudaMemcpyDeviceToHost) count(D2H); return cudaSuccess; }
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) { count(BLOCKING_COPY); return copy(d, s, n, k); }
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t t) { return copy(d, s, n, k); }
cudaError_t cudaMemcpyPeerAsync(void *d, int a, const void *s, int b, size_t n, cudaStream_t t) { return copy(d, s, n, cudaMemcpyDeviceToDevice); }
cudaError_t cudaMemset(void *d, int v, size_t n) { memset(d, v, n); return cudaSuccess; }
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t t) { memset(d, v, n); return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int *n) {
  *n = 0;
  if (driver() / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
  *n = devices();
  return *n ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int *d) { *d = current; return cudaSuccess; }
cudaError_t cudaSetDevice(int d) { if (d < 0 || d >= devices()) return cudaErrorInvalidDevice; current = d; return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *v) { *v = driver(); return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaPeekAtLastError(void) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void) { ALIVE count(DEVICE_SYNC); return cudaSuccess; }
cudaError_t cudaDeviceCanAccessPeer(int *c, int a, int b) { *c = 0; return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int *l, int *g) { *l = 0; *g = -5; return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) { *v = a == cudaDevAttrMultiProcessorCount ? 132 : a == cudaDevAttrComputeCapabilityMajor ? setting("FAKE_CUDA_CAPABILITY", 90) / 10 : 0; return cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) { snprintf(s, n, "0000:%02x:00.0", d); return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p); snprintf(p->name, sizeof p->name, "Fake GPU"); p->uuid.bytes[15] = d;
  long capability = setting("FAKE_CUDA_CAPABILITY", 90);
  p->major = capability / 10; p->minor = capability % 10; p->totalGlobalMem = memory(); p->multiProcessorCount = 132; p->warpSize = 32;
  p->maxThreadsPerBlock = 1024; p->maxThreadsPerMultiProcessor = 2048; p->sharedMemPerBlock = 49152; p->sharedMemPerBlockOptin = 232448;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536; p->maxGridSize[0] = 2147483647; p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024; p->maxThreadsDim[2] = 64; p->l2CacheSize = 50 << 20; p->unifiedAddressing = 1;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) { *s = malloc(8); return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { *s = malloc(8); return cudaSuccess; }
cudaError_t cudaStreamCreate(cudaStream_t *s) { *s = malloc(8); return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t s) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t s) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { ALIVE count(STREAM_SYNC); return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned f) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *c) { *c = cudaStreamCaptureStatusNone; return cudaSuccess; }
#undef cudaStreamGetCaptureInfo
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **n, const cudaGraphEdgeData **e, size_t *k) { *c = cudaStreamCaptureStatusNone; return cudaSuccess; }
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) { *p = 0; return cudaSuccess; }
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) { *e = calloc(1, sizeof(double)); return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) { free(e); return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t e) { ALIVE return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { ALIVE count(EVENT_SYNC); return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { ALIVE struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); *(double *)e = t.tv_sec * 1e3 + t.tv_nsec / 1e6; return cudaSuccess; }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned f) { return cudaEventRecord(e, s); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) { *ms = *(double *)b - *(double *)a; return cudaSuccess; }
cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { ALIVE count(LAUNCH); return cudaSuccess; }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) { count(LAUNCH); return cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) { return cudaSuccess; }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t m) { *n = 1; return cudaSuccess; }

/* Of the driver, which torch opens by the name libcuda.so.1: */
int cuInit(unsigned f) { return 0; }
int cuDriverGetVersion(int *v) { *v = driver(); return 0; }
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) { *f = 0; *a = 1; return 0; }
int cuCtxGetCurrent(void **c) { *c = (void *)1; return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuGetErrorString(int e, const char **s) { *s = "fake"; return 0; }
#include <dlfcn.h>
static int unsupported(void) { return 801; }
int cuDeviceGet(int *d, int k) { *d = k; return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { *v = 0; return 0; }
#undef cudaGetDriverEntryPointByVersion
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **f, unsigned version, unsigned long long flags, enum cudaDriverEntryPointQueryResult *found) {
  *f = dlsym(RTLD_DEFAULT, name);
  if (!*f) *f = unsupported;
  if (getenv("FAKE_CUDA_DEBUG")) fprintf(stderr, "driver entry %s %s\n", name, *f ? "" : "MISSING");
  if (found) *found = *f ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *p, int d) { *p = 0; return cudaSuccess; }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) { return cudaSuccess; }
cudaError_t cudaDeviceEnablePeerAccess(int d, unsigned f) { return cudaSuccess; }
