// What this machine can do at most: bytes that its threads read from memory in a second, and operations of the int8
// kernel while everything stays in the cache. Best of several passes: a limit, not an average.

import Arithmetic
import Inference

enum MachineProbe {
    private static let passes = 5
    private static let memoryBytes = 512 << 20

    /// Sums of 512 MiB, cut over the threads.
    static func memoryBytesPerSecond(threads: Int) -> Double {
        let pool = WorkerThreads(width: threads)
        let words = memoryBytes / 8
        let memory = UnsafeMutablePointer<UInt64>.allocate(capacity: words)
        defer { memory.deallocate() }
        memory.initialize(repeating: 1, count: words)
        let sums = UnsafeMutablePointer<UInt64>.allocate(capacity: pool.width)
        defer { sums.deallocate() }
        var best = Double.infinity
        for _ in 0..<passes {
            let watch = Stopwatch()
            pool.run(count: pool.width) { slice in
                let from = words * slice / pool.width, to = words * (slice + 1) / pool.width
                var sum = SIMD8<UInt64>.zero, more = SIMD8<UInt64>.zero
                var at = UnsafeRawPointer(memory + from)
                for _ in 0..<(to - from) / 16 {
                    sum &+= at.loadUnaligned(as: SIMD8<UInt64>.self)
                    more &+= at.loadUnaligned(fromByteOffset: 64, as: SIMD8<UInt64>.self)
                    at += 128
                }
                sums[slice] = (sum &+ more).wrappedSum()
            }
            best = min(best, watch.seconds)
        }
        // Read, so that it is not optimised away.
        precondition((0..<pool.width).reduce(0) { $0 + sums[$1] } <= UInt64(words))
        return Double(memoryBytes) / best
    }

    /// 64 tokens times a matrix of 256 rows and 1,024 columns, one for each thread.
    static func int8OperationsPerSecond(threads: Int) -> Double {
        let pool = WorkerThreads(width: threads)
        let repeats = 200
        let products = (0..<pool.width).map { _ in Int8Probe() }
        var best = Double.infinity
        for _ in 0..<passes {
            let watch = Stopwatch()
            pool.run(count: pool.width) { slice in for _ in 0..<repeats { products[slice].multiply() } }
            best = min(best, watch.seconds)
        }
        return Double(Int8Probe.operations * repeats * pool.width) / best
    }
}
