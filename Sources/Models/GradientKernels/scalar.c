// The reference: no instruction beyond the platform's baseline.
#include "names.h"

#define FN(name) name##_scalar
#define TARGET
#define PRODUCT_TILES 1
#define PRODUCT_ROWS 2

GRADIENTS_OF(scalar)

#include "body.h"
