// Adapters by hand: told to an engine through its mailbox, done between two steps. What runs keeps what it began with.

package import Gateway
import Inference
package import Primitives
import Records
import Storage

struct AdapterOrder: Sendable {
    enum Action: Sendable {
        case look([CID])
        /// Read now; it leaves again when others need the room.
        case load(CID)
        /// Read now, and kept.
        case pin(CID)
        case unpin(CID)
        /// Out of memory as soon as nothing runs with it.
        case unload(CID)
    }

    let action: Action
    /// Of the adapters that the action names and the engine knows.
    let reply: @Sendable (Result<[CID: AdapterReport], JobFault>) -> Void
}

/// An adapter as it stands here: in an engine's memory, or not.
package struct AdapterStanding: Sendable {
    /// nil where its model is not in memory, or was never asked for it.
    var report: AdapterReport?
    var usage: AdapterUsage
    var isPinned: Bool

    /// As the interface words it; nil where it is not in memory nor on its way there.
    var state: String? {
        switch report?.state {
        case .resident?: "resident"
        case .loading?: "loading"
        case .waiting?: "waiting"
        case .absent?, nil: nil
        }
    }

    var memoryBytes: Int { state == "resident" ? report?.bytes ?? 0 : 0 }
    var running: Int { report?.running ?? 0 }
    var queued: Int { report?.waiting ?? 0 }
}

extension InferenceService {
    /// How long a load is waited for before its state is told as it is.
    private static let loadPatience = Duration.seconds(10)
    private static let glance = Duration.milliseconds(20)

    /// How adapters of one base stand.
    func standing(of adapters: [CID], base: CID?) async -> [CID: AdapterStanding] {
        var reports: [CID: AdapterReport] = [:]
        if let base, !adapters.isEmpty {
            let key = EngineKey(model: base, form: form(of: base))
            if let worker = try? adapterWorker(key, starts: false) {
                reports = (try? await tell(worker, .look(adapters)).get()) ?? [:]
            }
        }
        return adapters.reduce(into: [:]) { standings, adapter in
            standings[adapter] = AdapterStanding(
                report: reports[adapter], usage: book.usage(of: adapter), isPinned: book.isPinned(adapter))
        }
    }

    /// Returns when it is done, or where it takes long, when it has begun.
    package func perform(_ action: AdapterAction, on adapter: CID) async throws(AnswerFault) {
        do throws(JobFault) {
            try await act(action, on: adapter)
        } catch {
            throw error.answerFault
        }
    }

    private func act(_ action: AdapterAction, on adapter: CID) async throws(JobFault) {
        guard let entry = shelf.entry(adapter), entry.kind == .adapter, let base = entry.folder.base else {
            throw JobFault(.unknown(adapter), code: "adapter")
        }
        let key = EngineKey(model: base, form: form(of: base))
        switch action {
        case .load, .pin:
            guard shelf.entry(base)?.kind == .model else { throw JobFault(.unknown(base), code: "model") }
            let failures = book.usage(of: adapter).failures
            guard let worker = try adapterWorker(key, starts: true) else { throw .closing }
            // In memory first: a pin that the engine has no room for is not kept.
            _ = try await tell(worker, action == .pin ? .pin(adapter) : .load(adapter)).get()
            if action == .pin { try await remember { book throws(StorageFault) in try book.pin(adapter) } }
            try await settle(adapter, on: worker, failuresBefore: failures)
        case .unpin:
            try await remember { book throws(StorageFault) in
                try book.unpin(adapter)
                return true
            }
            if let worker = try adapterWorker(key, starts: false) { _ = try await tell(worker, .unpin(adapter)).get() }
        case .unload:
            try await remember { book throws(StorageFault) in
                try book.unpin(adapter)
                return true
            }
            if let worker = try adapterWorker(key, starts: false) { _ = try await tell(worker, .unload(adapter)).get() }
        }
    }

    private func settle(_ adapter: CID, on worker: EngineWorker, failuresBefore: UInt64) async throws(JobFault) {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < Self.loadPatience {
            let usage = book.usage(of: adapter)
            if usage.failures > failuresBefore { throw .adapterFailed(usage.lastFault ?? "it cannot be read") }
            if try await tell(worker, .look([adapter])).get()[adapter]?.state == .resident { return }
            do { try await Task.sleep(for: Self.glance) } catch { return }
        }
    }

    private func tell(
        _ worker: EngineWorker, _ action: AdapterOrder.Action
    ) async -> Result<[CID: AdapterReport], JobFault> {
        await withCheckedContinuation { continuation in
            let order = AdapterOrder(action: action) { continuation.resume(returning: $0) }
            if !worker.post(order) { order.reply(.failure(.closing)) }
        }
    }

    /// The disk, on a thread of its own.
    private func remember(
        _ body: @escaping @Sendable (AdapterBook) throws(StorageFault) -> Bool
    ) async throws(JobFault) {
        let book = book
        let result: Result<Bool, StorageFault> = await Task.detached {
            do throws(StorageFault) { return Result<Bool, StorageFault>.success(try body(book)) } catch {
                return .failure(error)
            }
        }.value
        switch result {
        case .success(true): break
        case .success(false):
            throw JobFault(.busy, "full", "\(AdapterBook.entriesMax) adapters are pinned already; unpin one first")
        case .failure(let fault): throw JobFault(.broken, "storage", "the pin cannot be kept: \(fault)")
        }
    }
}
