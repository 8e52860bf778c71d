// The one writer. Whoever wants something written queues a set; the thread takes all that is waiting, writes it in one
// transaction, syncs the disk once, and only then calls the completions, in the order in which the sets were queued.
//
//     idle ──set──▶ gathering ──(delay, or full)──▶ writing ──▶ syncing ──▶ completing ──▶ idle or gathering
//                                                    │  ▲
//                                           map full │  │ grown: the whole group again
//                                                    └──┘
//
// A group is all or nothing on disk. A set that is refused for its own sake (`rejected` by an update's closure) is undone
// alone; a fault of the disk refuses the whole group. After a failed sync nothing more is written: the kernel may have
// dropped the pages and a later sync would claim success for them.

import Foundation

// @unchecked Sendable: the fields under `condition` are used with it locked; `failure` and `written…` are also only
// touched under it; the rest is fixed at init.
final class GroupWriter: @unchecked Sendable {
    typealias Completion = @Sendable (Result<Void, StorageFault>) -> Void

    enum Work {
        case writes([StoreWrite])
        case update(@Sendable (inout WriteTransaction) throws(StorageFault) -> Void)
    }

    private struct Job {
        let work: Work
        let byteCount: Int
        let completion: Completion
    }

    struct Counters {
        /// Bytes of keys, values and blobs written since the home was created.
        var writtenBytes: UInt64 = 0
        var commits = 0
        var sets = 0
        var largestGroup = 0
    }

    private let environment: Environment
    private let delayMilliseconds: Int
    private let condition = NSCondition()
    private var queue: [Job] = []
    private var queuedBytes = 0
    private var closing = false
    private var failure: StorageFault?
    private var counters = Counters()
    /// Set once, at the end of init.
    private var thread: WriterThread?

    init(_ environment: Environment, writtenBytes: UInt64, delayMilliseconds: Int) {
        self.environment = environment
        self.delayMilliseconds = delayMilliseconds
        counters.writtenBytes = writtenBytes
        thread = WriterThread(self)
    }

    /// Counts bytes written outside of LMDB; the next commit makes the count durable.
    func countBlob(_ bytes: Int) {
        condition.withLock { counters.writtenBytes &+= UInt64(bytes) }
    }

    var statistics: Counters {
        condition.withLock { counters }
    }

    /// Queues one set. Refused at once when it is invalid, when the queue is full, or when the writer is closed;
    /// otherwise `completion` is called exactly once, on the writer's thread.
    func submit(_ work: Work, byteCount: Int, completion: @escaping Completion) throws(StorageFault) {
        if case .writes(let writes) = work {
            for write in writes {
                try LMDB.validate(write)
                _ = try environment.index(write.table)
            }
        }
        condition.lock()
        defer { condition.unlock() }
        if closing { throw .closed }
        if let failure { throw failure }
        guard queuedBytes + byteCount <= StoreLimits.writerQueueBytesMax else {
            throw .writerQueueFull(limitBytes: StoreLimits.writerQueueBytesMax)
        }
        queue.append(Job(work: work, byteCount: byteCount, completion: completion))
        queuedBytes += byteCount
        condition.broadcast()
    }

    /// Writes what is queued, then ends the thread. Later sets are refused. Called on the writer's own thread (by a
    /// completion that held the last reference to the store) it does not wait for itself.
    func close() {
        let ending = condition.withLock {
            closing = true
            condition.broadcast()
            defer { thread = nil }
            return thread
        }
        ending?.join()
    }

    // MARK: the thread

    fileprivate func run() {
        while let group = take() { write(group) }
    }

    private func take() -> [Job]? {
        condition.lock()
        defer { condition.unlock() }
        while queue.isEmpty {
            if closing { return nil }
            condition.wait()
        }
        if delayMilliseconds > 0 {
            let deadline = Date().addingTimeInterval(Double(delayMilliseconds) / 1000)
            while !closing, queuedBytes < StoreLimits.groupBytesMax, condition.wait(until: deadline) {}
        }
        var count = 0
        var bytes = 0
        for job in queue {
            if count > 0, bytes + job.byteCount > StoreLimits.groupBytesMax { break }
            if count == StoreLimits.groupSetsMax { break }
            bytes += job.byteCount
            count += 1
        }
        let group = Array(queue[..<count])
        queue.removeFirst(count)
        queuedBytes -= bytes
        return group
    }

    private func write(_ group: [Job]) {
        let outcomes: [Result<Void, StorageFault>]
        do {
            outcomes = try commit(group)
        } catch {
            if case .diskFailed = error { condition.withLock { failure = error } }
            outcomes = group.map { _ in .failure(error) }
        }
        for (job, outcome) in zip(group, outcomes) { job.completion(outcome) }
    }

    private func commit(_ group: [Job]) throws(StorageFault) -> [Result<Void, StorageFault>] {
        if let failure = condition.withLock({ failure }) { throw failure }
        if let free = Disk.freeBytes(at: environment.directory), free < environment.reserveBytes {
            throw .diskFull(path: environment.directory, freeBytes: free, reserveBytes: environment.reserveBytes)
        }
        while true {
            do {
                return try attempt(group)
            } catch .storeFull {
                try environment.grow()
            } catch .diskFailed(let path, let reason) {
                throw fullDisk(group) ?? .diskFailed(path: path, reason: reason)
            }
        }
    }

    /// LMDB reports a short write as EIO ("short write, filesystem full?" in mdb_page_flush). With no room for the group
    /// that is what it was: nothing reached the tree, and writing may go on when there is room again.
    private func fullDisk(_ group: [Job]) -> StorageFault? {
        let need = UInt64(group.reduce(0) { $0 + $1.byteCount }) * 2 + StoreLimits.fullDiskSlackBytes
        guard let free = Disk.freeBytes(at: environment.directory), free < need else { return nil }
        return .diskFull(path: environment.directory, freeBytes: free, reserveBytes: environment.reserveBytes)
    }

    private func attempt(_ group: [Job]) throws(StorageFault) -> [Result<Void, StorageFault>] {
        var transaction = try WriteTransaction(environment)
        var outcomes: [Result<Void, StorageFault>] = []
        outcomes.reserveCapacity(group.count)
        for job in group {
            switch job.work {
            case .writes(let writes):
                for write in writes { try transaction.apply(write) }
                outcomes.append(.success(()))
            case .update(let update):
                outcomes.append(try run(update, in: &transaction))
            }
        }
        let bytes = UInt64(transaction.writtenBytes)
        let total = condition.withLock { counters.writtenBytes } &+ bytes
        try transaction.put(StoreMeta.table, StoreMeta.writtenBytes, total)
        try transaction.commit()
        condition.withLock {
            counters.writtenBytes &+= bytes
            counters.commits += 1
            counters.sets += group.count
            counters.largestGroup = max(counters.largestGroup, group.count)
        }
        return outcomes
    }

    private func run(
        _ update: @Sendable (inout WriteTransaction) throws(StorageFault) -> Void,
        in transaction: inout WriteTransaction
    ) throws(StorageFault) -> Result<Void, StorageFault> {
        var child = try transaction.nested()
        do {
            try update(&child)
        } catch {
            guard error.concernsOneSetOnly else { throw error }
            return .failure(error)
        }
        let bytes = child.writtenBytes
        try child.commit()
        transaction.count(bytes)
        return .success(())
    }
}

/// The writer's thread. A pthread rather than Foundation's `Thread`, because it can be joined: after `join` the thread
/// holds no reference to the environment any more, so the home can be opened again at once.
private final class WriterThread: Sendable {
    private let thread: pthread_t

    init(_ writer: GroupWriter) {
        #if os(macOS)
        var created: pthread_t?
        #else
        var created = pthread_t()
        #endif
        let context = Unmanaged.passRetained(writer).toOpaque()
        let code = pthread_create(
            &created, nil,
            { context in
                #if os(macOS)
                let writer = Unmanaged<GroupWriter>.fromOpaque(context).takeRetainedValue()
                #else
                guard let context else { return nil }
                let writer = Unmanaged<GroupWriter>.fromOpaque(context).takeRetainedValue()
                #endif
                writer.run()
                return nil
            }, context)
        #if os(macOS)
        guard code == 0, let created else { preconditionFailure("no thread for the store's writer: \(code)") }
        #else
        precondition(code == 0, "no thread for the store's writer: \(code)")
        #endif
        thread = created
    }

    func join() {
        if pthread_equal(thread, pthread_self()) != 0 {
            pthread_detach(thread)
        } else {
            pthread_join(thread, nil)
        }
    }
}

extension StorageFault {
    /// True for a fault of what was to be written; false for one of the disk or the file, which concerns everybody.
    fileprivate var concernsOneSetOnly: Bool {
        switch self {
        case .rejected, .undecodable, .keyLength, .valueTooLarge, .unknownTable, .wrongChunk, .blob: true
        default: false
        }
    }
}
