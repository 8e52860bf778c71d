// Tokenizers and templates of models that need not be loaded: for counting and looking at tokens.

import Dispatch
import Inference
import ModelFiles
import Primitives
import Records
import Synchronization
import Tokenizers

struct TextTool: Sendable {
    let tokenizer: Tokenizer
    let template: ChatTemplate?
}

final class TextTools: Sendable {
    private struct Cache {
        var tools: [CID: (tool: TextTool, used: UInt64)] = [:]
        var clock: UInt64 = 0
    }

    private let cache = Mutex(Cache())
    private let queue = DispatchQueue(label: "openledger.texts")

    /// Runs `body` with the model's tools off the caller's thread.
    func with<Result: Sendable>(
        _ model: CID, on shelf: ModelShelf,
        _ body: @escaping @Sendable (TextTool) throws(JobFault) -> Result
    ) async -> Swift.Result<Result, JobFault> {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                do throws(JobFault) {
                    continuation.resume(returning: .success(try body(try tool(model, shelf))))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
    }

    private func tool(_ model: CID, _ shelf: ModelShelf) throws(JobFault) -> TextTool {
        let known = cache.withLock { cache in
            cache.clock += 1
            cache.tools[model]?.used = cache.clock
            return cache.tools[model]?.tool
        }
        if let known { return known }
        let tool: TextTool
        do throws(ShelfFault) {
            guard let entry = shelf.entry(model), entry.kind == .model else { throw .unknown(model) }
            let folder = try shelf.folder(model)
            guard folder.bytes(of: Tokenizer.file) != nil else {
                throw .file(name: entry.name, reason: "has no tokenizer: it takes token ids only")
            }
            tool = try inModel { () throws(ModelFault) in
                TextTool(tokenizer: try Tokenizer(folder: folder), template: try ChatTemplate(folder: folder))
            }
        } catch {
            throw JobFault(error, code: "model")
        }
        cache.withLock { cache in
            cache.tools[model] = (tool, cache.clock)
            while cache.tools.count > InferenceLimits.tokenizersMax,
                let oldest = cache.tools.min(by: { $0.value.used < $1.value.used })?.key
            {
                cache.tools[oldest] = nil
            }
        }
        return tool
    }
}
