// The memory that weights may take (`memory.models`), of all engines and stages of this peer together. Whoever loads claims
// first; a claim that is let go of gives its bytes back.

import Synchronization

package final class WeightRoom: Sendable {
    /// Nil: no limit.
    package let bytesMax: Int?
    private let taken = Mutex(0)

    package init(bytesMax: Int?) { self.bytesMax = bytesMax }

    var left: Int {
        guard let bytesMax else { return .max }
        return taken.withLock { max(0, bytesMax - $0) }
    }

    /// Nil where there is not so much room.
    func claim(_ bytes: Int) -> WeightClaim? {
        let isTaken = taken.withLock { taken in
            if let bytesMax, bytes > bytesMax - taken { return false }
            taken += bytes
            return true
        }
        return isTaken ? WeightClaim(room: self, bytes: bytes) : nil
    }

    /// - Throws: where there is not so much room; `what` has asked for it.
    func claim(_ bytes: Int, for what: String) throws(RoomFault) -> WeightClaim {
        guard let claim = claim(bytes) else { throw RoomFault(what: what, bytes: bytes, left: left) }
        return claim
    }

    fileprivate func give(_ bytes: Int) { taken.withLock { $0 -= bytes } }
}

struct RoomFault: Error, CustomStringConvertible {
    let what: String
    let bytes: Int
    let left: Int

    var description: String {
        "\(what) takes \(bytes) bytes more; memory.models leaves \(left). A base of lower precision takes less"
    }
}

final class WeightClaim: Sendable {
    let bytes: Int
    private let room: WeightRoom

    fileprivate init(room: WeightRoom, bytes: Int) {
        self.room = room
        self.bytes = bytes
    }

    deinit { room.give(bytes) }
}
