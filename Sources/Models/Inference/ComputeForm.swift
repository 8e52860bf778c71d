// In what an answer is computed: weights, and keys and values. Both change its bits, so offers, orders and receipts name
// both in one word.

package import Arithmetic

/// `int8`, or `int8+kv8` where keys and values are kept in int8 (Protocol/numerics.md).
package struct ComputeForm: Hashable, Sendable {
    package let weights: Precision
    package let cache: CachePrecision

    private static let keptInInt8 = "+kv8"

    package init(_ weights: Precision, cache: CachePrecision = .f32) {
        self.weights = weights
        self.cache = cache
    }

    /// Nil for a word that names none.
    package init?(text: String) {
        let isKept = text.hasSuffix(Self.keptInInt8)
        guard let weights = Precision(rawValue: isKept ? String(text.dropLast(Self.keptInInt8.count)) : text) else {
            return nil
        }
        self.init(weights, cache: isKept ? .int8 : .f32)
    }

    package var text: String { weights.rawValue + (cache == .int8 ? Self.keptInInt8 : "") }
}
