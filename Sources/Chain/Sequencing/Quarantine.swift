// What was refused lately and why, so that the same item costs nothing a second time and its sender can be told.
// Bounded: the oldest entry makes room.

import Primitives

struct Quarantine<Fault: Sendable>: Sendable {
    private var faults: [Digest: Fault] = [:]
    private var order: [Digest] = []
    private var oldest = 0
    private let countMax: Int

    init(countMax: Int) {
        precondition(countMax > 0, "room for one at least")
        self.countMax = countMax
    }

    subscript(_ id: Digest) -> Fault? { faults[id] }

    mutating func put(_ id: Digest, _ fault: Fault) {
        if faults.updateValue(fault, forKey: id) != nil { return }
        if order.count < countMax {
            order.append(id)
        } else {
            faults[order[oldest]] = nil
            order[oldest] = id
            oldest = (oldest + 1) % countMax
        }
    }
}

/// The answer to an item that is offered to a pool.
package enum PoolAnswer<Fault: Hashable & Sendable>: Hashable, Sendable {
    case taken
    /// It is here already.
    case known
    /// There is no room: for all, or for this payer or sender. The item may come again later.
    case full
    /// It was refused before, for this.
    case refused(Fault)
}

package struct PoolLimits: Hashable, Sendable {
    package var countMax = 65_536
    package var bytesMax = 64 << 20
    /// Of one allowance, or of one sender.
    package var perOwnerMax = 1024
    package var quarantineMax = 16_384

    package init() {}
}
