// A GGUF header as the tokenizers ask it.

package import ModelFiles

extension GGUFFile: VocabularyMetadata {
    package func string(_ key: String) -> String? { metadata[key]?.text }
    package func flag(_ key: String) -> Bool? { metadata[key]?.flag }

    package func integer(_ key: String) -> Int? {
        guard case .integer(let value)? = metadata[key] else { return nil }
        return Int(exactly: value)
    }

    package func strings(_ key: String) -> [[UInt8]]? { metadata[key]?.strings }
    package func floats(_ key: String) -> [Float]? { metadata[key]?.floats?.map { Float($0) } }

    package func integers(_ key: String) -> [Int32]? {
        guard let values = metadata[key]?.integers else { return nil }
        let exact = values.compactMap { Int32(exactly: $0) }
        return exact.count == values.count ? exact : nil
    }

    /// A file may hold weights alone; such a model takes token ids only.
    fileprivate var hasVocabulary: Bool {
        guard let kind = string("tokenizer.ggml.model") else { return false }
        return kind != "none" && kind != "no_vocab"
    }
}

/// What a model's files say of text: in a Hugging Face folder's own files or in the header of its GGUF.
package struct ModelTexts: Sendable {
    /// Nil where there is none: such a model takes token ids only.
    package let tokenizer: Tokenizer?
    package let template: ChatTemplate?
    /// The file that the tokenizer was read from.
    package let file: String

    private init(_ tokenizer: Tokenizer?, _ template: ChatTemplate?, file: String) {
        self.tokenizer = tokenizer
        self.template = template
        self.file = file
    }

    package init(folder: any ModelFolder) throws(ModelFault) {
        if let bytes = folder.bytes(of: GGUFFile.name) {
            try self.init(try GGUFFile(bytes, file: GGUFFile.name))
        } else {
            let hasTokenizer = folder.bytes(of: Tokenizer.file) != nil
            self.init(
                hasTokenizer ? try Tokenizer(folder: folder) : nil, try ChatTemplate(folder: folder),
                file: Tokenizer.file)
        }
    }

    package init(_ header: GGUFFile) throws(ModelFault) {
        let file = GGUFFile.name
        self.init(
            header.hasVocabulary ? try Tokenizer(metadata: header, file: file) : nil,
            header.hasVocabulary ? try ChatTemplate(metadata: header, file: file) : nil, file: file)
    }
}
