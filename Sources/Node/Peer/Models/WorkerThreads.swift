// The threads that an engine's products are cut over. The thread that calls `run` works as well and takes whatever nobody
// has begun, so a worker that the system does not schedule delays only the slice that it holds.
//
//     run: body, word = (round + 1, count, 0) ──▶ whoever is free takes i: (round, count, i + 1) ──▶ i = count, all done
//
// A model's step has hundreds of such rounds, a few microseconds apart: who waits looks again for a while before it
// sleeps. Which thread computes a slice changes no bit: a slice is a set of outputs.

import Arithmetic
import Foundation
import Synchronization

// @unchecked Sendable: `body` is written by the one caller of `run` before it publishes the round in `word`, and
// read only by a thread that took a slice of that round, which ends after its last slice.
package final class WorkerThreads: WorkerPool, @unchecked Sendable {
    package static let widthMax = 64
    private static let bytesPerThreadMin = 16 << 20

    package let width: Int

    private let shared: Shared

    /// - Parameter width: threads that compute, the caller of `run` among them; at most `widthMax`.
    package init(width: Int) {
        self.width = min(max(1, width), Self.widthMax)
        shared = Shared()
        let cores = ProcessInfo.processInfo.activeProcessorCount, spare = max(0, cores - self.width)
        for index in 1..<max(1, self.width) {
            // The last one rests first.
            let rests = spare + self.width - index
            let thread = Thread { [shared] in shared.work(restingFor: rests) }
            thread.name = "openledger.kernel.\(index)"
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    deinit { shared.end() }

    /// For a model: threads only where each has enough weights to be worth a round trip between cores.
    package convenience init(width: Int, weightBytes: Int) {
        self.init(width: min(width, weightBytes / Self.bytesPerThreadMin))
    }

    package func run(count: Int, _ body: (Int) -> Void) {
        guard count > 1, width > 1 else {
            for index in 0..<count { body(index) }
            return
        }
        precondition(count <= Shared.countMax)
        withoutActuallyEscaping(body) { shared.run(count: count, $0) }
    }

    // @unchecked Sendable: as its owner.
    private final class Shared: @unchecked Sendable {
        /// round (32 bits), slices of it (16), the one that is next (16).
        private let word = Atomic<UInt64>(0)
        private let done = Atomic<Int>(0)
        private let sleepers = Atomic<Int>(0)
        private let isOver = Atomic<Bool>(false)
        private var body: ((Int) -> Void)?
        private let condition = NSCondition()

        static let countMax = 0xffff
        /// Looks at `word` before a worker sleeps: some tens of microseconds.
        private static let looks = 4000
        private static let looksBeforeYield = 2000

        func run(count: Int, _ body: @escaping (Int) -> Void) {
            self.body = body
            done.store(0, ordering: .relaxed)
            let round = UInt32(truncatingIfNeeded: word.load(ordering: .relaxed) >> 32) &+ 1
            word.store(UInt64(round) << 32 | UInt64(count) << 16, ordering: .sequentiallyConsistent)
            if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
                condition.withLock { condition.broadcast() }
            }
            take(round)
            var looked = 0
            while done.load(ordering: .acquiring) < count {
                looked += 1
                if looked > Self.looksBeforeYield { sched_yield() }
            }
            self.body = nil
        }

        /// Slices of a round until none is left. The round cannot end while a slice that was taken is open.
        private func take(_ round: UInt32) {
            var seen = word.load(ordering: .acquiring)
            while UInt32(truncatingIfNeeded: seen >> 32) == round {
                let slice = seen & 0xffff
                guard slice < seen >> 16 & 0xffff else { return }
                let (taken, now) = word.compareExchange(
                    expected: seen, desired: seen + 1, ordering: .acquiringAndReleasing)
                guard taken else {
                    seen = now
                    continue
                }
                body?(Int(slice))
                done.add(1, ordering: .releasing)
                seen = word.load(ordering: .acquiring)
            }
        }

        /// - Parameter lent: cores lent from which on this thread rests.
        func work(restingFor lent: Int) {
            var last: UInt32 = 0
            while true {
                guard let round = next(after: last) else { return }
                CoreLoan.wait(while: lent)
                take(round)
                last = round
            }
        }

        /// The round that follows, once there is one; nil when it is over.
        private func next(after last: UInt32) -> UInt32? {
            for _ in 0..<Self.looks {
                let round = UInt32(truncatingIfNeeded: word.load(ordering: .acquiring) >> 32)
                if round != last { return round }
            }
            sleepers.add(1, ordering: .sequentiallyConsistent)
            defer { sleepers.subtract(1, ordering: .relaxed) }
            return condition.withLock {
                while true {
                    if isOver.load(ordering: .sequentiallyConsistent) { return nil }
                    let round = UInt32(truncatingIfNeeded: word.load(ordering: .sequentiallyConsistent) >> 32)
                    if round != last { return round }
                    condition.wait()
                }
            }
        }

        func end() {
            isOver.store(true, ordering: .sequentiallyConsistent)
            condition.withLock { condition.broadcast() }
        }
    }
}

/// Cores that short work beside a step has to itself: as many workers rest as the machine has cores too few. Otherwise the
/// system would give each a turn, and a slice whose worker waits for its turn keeps the whole step waiting.
enum CoreLoan {
    private static let lent = Atomic<Int>(0)
    private static let condition = NSCondition()

    /// Runs `body`, some milliseconds of work, on a core of its own.
    static func take<Answer>(_ body: () throws -> Answer) rethrows -> Answer {
        lent.add(1, ordering: .relaxed)
        defer {
            condition.withLock {
                lent.subtract(1, ordering: .relaxed)
                condition.broadcast()
            }
        }
        return try body()
    }

    /// Returns when fewer cores are lent than that.
    fileprivate static func wait(while count: Int) {
        guard lent.load(ordering: .relaxed) >= count else { return }
        condition.withLock {
            while lent.load(ordering: .relaxed) >= count { condition.wait() }
        }
    }
}
