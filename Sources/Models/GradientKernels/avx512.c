// x86-64 with AVX-512 F, BW, DQ and VL.
#if defined(__x86_64__)
#include "names.h"

#define FN(name) name##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define PRODUCT_TILES 4
#define PRODUCT_ROWS 6

GRADIENTS_OF(avx512)

#include "body.h"
#endif
