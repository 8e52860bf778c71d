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
    private let cache = Mutex(RecentModels<TextTool>(countMax: InferenceLimits.tokenizersMax))
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
        if let known = cache.withLock({ $0.value(of: model) }) { return known }
        let tool: TextTool
        do throws(ShelfFault) {
            guard let entry = shelf.entry(model), entry.kind == .model else { throw .unknown(model) }
            let folder = try shelf.folder(model)
            let texts = try inModel { () throws(ModelFault) in try ModelTexts(folder: folder) }
            guard let tokenizer = texts.tokenizer else {
                throw .file(name: entry.name, reason: "has no tokenizer: it takes token ids only")
            }
            tool = TextTool(tokenizer: tokenizer, template: texts.template)
        } catch {
            throw JobFault(error, code: "model")
        }
        cache.withLock { $0.keep(tool, of: model) }
        return tool
    }
}
