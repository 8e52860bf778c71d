// Every slice of every round is computed once, whoever computes it, and the engine's bits do not depend on how many
// threads there are.

import Arithmetic
import Foundation
import Inference
import Records
import Synchronization
import Testing

@testable import Peer

struct WorkerThreadsTests {
    @Test(arguments: [1, 2, 3, 8])
    func everySliceIsComputedOnce(width: Int) {
        let pool = WorkerThreads(width: width)
        #expect(pool.width == width)
        for round in 0..<3000 {
            let count = round % 13
            let hits = UnsafeMutablePointer<Int>.allocate(capacity: 13)
            hits.initialize(repeating: 0, count: 13)
            // A slice is somebody's alone, so plain memory will do; a slice that two computed would count twice.
            pool.run(count: count) { hits[$0] += 1 }
            #expect((0..<13).allSatisfy { hits[$0] == ($0 < count ? 1 : 0) })
            hits.deallocate()
        }
    }

    @Test func workersThatSleepAreWoken() {
        let pool = WorkerThreads(width: 4)
        for _ in 0..<20 {
            let sum = Atomic<Int>(0)
            pool.run(count: 4) {
                Thread.sleep(forTimeInterval: 0.002)
                sum.add($0 + 1, ordering: .relaxed)
            }
            #expect(sum.load(ordering: .relaxed) == 10)
            Thread.sleep(forTimeInterval: 0.003)
        }
    }

    @Test func slicesRunBesideEachOther() {
        // Both are needed at once: neither ends before the other has begun.
        let pool = WorkerThreads(width: 2)
        let begun = Atomic<Int>(0)
        pool.run(count: 2) { _ in
            begun.add(1, ordering: .sequentiallyConsistent)
            let limit = Date(timeIntervalSinceNow: 20)
            while begun.load(ordering: .sequentiallyConsistent) < 2, Date() < limit { usleep(100) }
        }
        #expect(begun.load(ordering: .sequentiallyConsistent) == 2)
    }

    @Test func workersRestWhileTheirCoreIsLent() {
        // As many threads as cores: the last worker's core is the one that is lent.
        let pool = WorkerThreads(width: max(2, ProcessInfo.processInfo.activeProcessorCount))
        func threads() -> Int {
            let seen = Mutex<Set<UInt>>([])
            pool.run(count: 64) { _ in
                let thread = UInt(pthread_self())
                _ = seen.withLock { $0.insert(thread) }
                usleep(500)
            }
            return seen.withLock { $0.count }
        }
        for _ in 0..<3 {
            #expect(CoreLoan.take { threads() } < pool.width)
            let limit = Date(timeIntervalSinceNow: 20)
            var found = 0
            while found < pool.width, Date() < limit { found = threads() }
            #expect(found == pool.width)
        }
    }

    @Test func smallModelsKeepOneThread() {
        #expect(WorkerThreads(width: 8, weightBytes: 11 << 20).width == 1)
        #expect(WorkerThreads(width: 8, weightBytes: 40 << 20).width == 2)
        #expect(WorkerThreads(width: 2, weightBytes: 1 << 30).width == 2)
    }

    @Test(arguments: [Precision.f32, .int8])
    func theBitsAreThoseOfOneThread(precision: Precision) throws {
        let model = try LoadedModel(
            folder: try MappedFolder(try FolderFiles.list(Starter.model, kind: .model)), precision: precision)
        func answers(_ pool: any WorkerPool) throws -> [[Int32]] {
            let engine = Engine(model: model, pool: pool)
            var found: [SequenceID: [Int32]] = [:]
            for index in 0..<3 {
                let prompt = (0..<(20 + 31 * index)).map { Int32(300 + 7 * $0 + index) % 500 }
                let id = try engine.submit(
                    GenerationRequest(prompt: prompt, tokensMax: 24, ignoresEnd: true))
                found[id] = []
            }
            while !engine.isIdle {
                for output in engine.step() { if let token = output.token { found[output.id]?.append(token.id) } }
            }
            return found.sorted { $0.key < $1.key }.map(\.value)
        }
        let one = try answers(SerialPool())
        #expect(one.allSatisfy { $0.count == 24 })
        for width in 2...4 { #expect(try answers(WorkerThreads(width: width)) == one) }
    }
}
