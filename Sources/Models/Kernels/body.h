// Every kernel once, over sixteen-lane vectors. The including file defines
//   FN(name)          the symbol's name for its instruction set
//   TARGET            its function attribute
//   TILES_AT_ONCE, TOKENS_AT_ONCE       the panel of a float product that its registers hold
//   UNITS_AT_ONCE                       tiles of single tokens side by side
//   PAGES_AT_ONCE, ROWS_AT_ONCE, CHANNELS_AT_ONCE   the same for attention: scores, heads, 16 channels of values
// and FN(halves), and FN(dot_block) or products of its own with OWN_BLOCK_PRODUCTS.
#include "vectors.h"

#include "products.h"

#include "blocks.h"

#include "rows.h"

#include "attention.h"

#include "body_families.h"
