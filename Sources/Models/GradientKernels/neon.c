// arm64 with Advanced SIMD, its baseline. No gradient needs the int8 dot, so both of Kernels' sets are this one.
#if defined(__aarch64__)
#include "names.h"

#define FN(name) name##_neon
#define TARGET
#define PRODUCT_TILES 1
#define PRODUCT_ROWS 6

GRADIENTS_OF(neon)

#include "body.h"
#endif
