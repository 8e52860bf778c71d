// Sets as ascending lists: what two of them have in common is found in one pass over both.

package enum AscendingSets {
    /// Hands over each value that is in both, ascending.
    /// - Precondition: both are ascending, each value once.
    package static func common(_ one: [UInt64], _ other: [UInt64], _ body: (UInt64) -> Void) {
        var i = 0
        var j = 0
        while i < one.count, j < other.count {
            if one[i] == other[j] {
                body(one[i])
                i += 1
                j += 1
            } else if one[i] < other[j] {
                i += 1
            } else {
                j += 1
            }
        }
    }
}
