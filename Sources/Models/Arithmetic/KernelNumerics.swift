// The C kernels as Swift sees them: an instruction set chosen once, and double-precision functions that do not depend
// on the machine's libm.

import Kernels

/// What a receipt names so that another peer can repeat the arithmetic: Protocol/numerics.md, revision 2.
package enum KernelNumerics {
    package static let revision: UInt64 = 2
}

package enum Precision: String, Hashable, Sendable, CaseIterable {
    case f32
    case bf16
    case int8
    case int4

    /// Whether activations become int8 blocks before a product.
    package var isQuantized: Bool { self == .int8 || self == .int4 }
    /// The output head's: int8 at least.
    package var ofHead: Self { self == .int4 ? .int8 : self }
}

package struct InstructionSet: Hashable, Sendable {
    package let code: Int32
    package let name: String

    package static let scalar = Self(code: Int32(KERNEL_SCALAR), name: "scalar")
    package static let avx2 = Self(code: Int32(KERNEL_AVX2), name: "avx2")
    package static let avx512 = Self(code: Int32(KERNEL_AVX512), name: "avx512")
    package static let neon = Self(code: Int32(KERNEL_NEON), name: "neon")
    package static let neonDot = Self(code: Int32(KERNEL_NEON_DOT), name: "neon-dot")

    private init(code: some BinaryInteger, name: String) {
        self.code = Int32(code)
        self.name = name
    }

    /// Those that this processor runs, slowest first.
    package static var available: [Self] {
        [scalar, avx2, avx512, neon, neonDot].filter { kernel_available($0.code) == 1 }
    }
    package static var best: Self { available.last ?? scalar }
}

package enum DoubleMath {
    package static func pow(_ base: Double, _ exponent: Double) -> Double { kernel_pow(base, exponent) }
    package static func log(_ x: Double) -> Double { kernel_log(x) }
}

/// Performs `body(0) … body(count - 1)` and answers when all are done, in any order and on any threads. The engine asks
/// for at most `width` at once and gives each its own memory.
package protocol WorkerPool: AnyObject {
    var width: Int { get }
    func run(count: Int, _ body: (Int) -> Void)
}

package final class SerialPool: WorkerPool {
    /// A width above one only cuts the work into that many parts: it shows that the cut does not change the bits.
    package let width: Int

    package init(width: Int = 1) { self.width = max(1, width) }

    package func run(count: Int, _ body: (Int) -> Void) {
        for index in 0..<count { body(index) }
    }
}
