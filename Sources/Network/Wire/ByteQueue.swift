// Bytes in order: appended at the back, taken at the front, without moving what stays but once in a while.

struct ByteQueue: Sendable {
    /// What was taken is cut off when it is at least this much and at least half of the storage.
    private static let slackBytesMax = 64 * 1024

    private(set) var storage: [UInt8] = []
    private(set) var head = 0

    var count: Int { storage.count - head }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ bytes: [UInt8]) {
        storage.append(contentsOf: bytes)
    }

    mutating func removeAll() {
        storage = []
        head = 0
    }

    /// Moves `count` bytes from the front to the end of `out`.
    mutating func move(_ count: Int, to out: inout [UInt8]) {
        precondition(count <= self.count, "no more than is there")
        out.append(contentsOf: storage[head..<head + count])
        head += count
        if head == storage.count {
            // A queue that was once deep gives its memory back.
            storage.removeAll(keepingCapacity: storage.capacity <= 4 * Self.slackBytesMax)
            head = 0
        } else if head >= Self.slackBytesMax, head * 2 >= storage.count {
            storage.removeSubrange(0..<head)
            head = 0
        }
    }
}
