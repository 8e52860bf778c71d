// x86-64 with AVX2 and FMA.
#if defined(__x86_64__)
#include "names.h"

#define FN(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define PRODUCT_TILES 1
#define PRODUCT_ROWS 6

GRADIENTS_OF(avx2)

#include "body.h"
#endif
