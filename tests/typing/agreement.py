"""Read by mypy alone: every part is what its contract says, and every contract is what its consumers ask for.

An assignment below fails to type-check when a part lacks a method, or when a package's own `protocols.py` asks for
more than the host's contract promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import align_scratch.protocols as align
    import embeddings_scratch.protocols as embeddings
    import gpt_scratch.protocols as gpt
    import inference_scratch.protocols as inference
    from align_scratch.grpo import GRPO
    from align_scratch.sft import SFT
    from align_scratch.tasks.addition import Add
    from align_scratch.tasks.corpus import Corpus
    from align_scratch.tasks.reversal import Reverse
    from align_scratch.tasks.sorting import Sort
    from embeddings_scratch.model import SkipGram
    from embeddings_scratch.trainer import Word2Vec
    from gpt_scratch.bigram import Bigram
    from gpt_scratch.model import GPT
    from gpt_scratch.pretrain import Pretrain
    from inference_scratch.samplers import Greedy, Multinomial, TopK, TopP
    from papers_scratch.lora import LoRA
    from scratch_cli import contracts
    from tokenizers_scratch.bpe import BPETokenizer
    from tokenizers_scratch.byte import ByteTokenizer
    from tokenizers_scratch.char import CharTokenizer
    from tokenizers_scratch.hf.tokenizer import HFTokenizer
    from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
    from tokenizers_scratch.unigram import UnigramTokenizer
    from tokenizers_scratch.word import WordTokenizer
    from tokenizers_scratch.wordpiece import WordPieceTokenizer

    # Parts keep the contracts.
    def tokenizers(
        byte: ByteTokenizer,
        char: CharTokenizer,
        bpe: BPETokenizer,
        word: WordTokenizer,
        wordpiece: WordPieceTokenizer,
        unigram: UnigramTokenizer,
        sentencepiece: SentencePieceTokenizer,
        hf: HFTokenizer,
    ) -> tuple[contracts.Tokenizer, ...]:
        return byte, char, bpe, word, wordpiece, unigram, sentencepiece, hf

    def models(gpt: GPT, bigram: Bigram, skipgram: SkipGram) -> tuple[contracts.Model, ...]:
        return gpt, bigram, skipgram

    def samplers(greedy: Greedy, multinomial: Multinomial, top_k: TopK, top_p: TopP) -> tuple[contracts.Sampler, ...]:
        return greedy, multinomial, top_k, top_p

    def trainers(pretrain: Pretrain, word2vec: Word2Vec, sft: SFT, grpo: GRPO) -> tuple[contracts.Trainer, ...]:
        return pretrain, word2vec, sft, grpo

    def adapters(lora: LoRA) -> tuple[contracts.Adapter, ...]:
        return (lora,)

    def text_tasks(corpus: Corpus) -> tuple[contracts.TextTask, ...]:
        return (corpus,)

    def tasks(sort: Sort, add: Add, reverse: Reverse) -> tuple[contracts.Task, ...]:
        return sort, add, reverse

    def recorders(grpo: GRPO) -> contracts.RecordsRollouts:
        return grpo

    def word_vectors(skipgram: SkipGram) -> contracts.WordVectors:
        return skipgram

    def show_samples(
        pretrain: Pretrain, word2vec: Word2Vec, sft: SFT, grpo: GRPO
    ) -> tuple[contracts.ShowsSamples, ...]:
        return pretrain, word2vec, sft, grpo

    # What consumers ask for is no more than what the contracts promise.
    def tokenizer_for_all(
        tokenizer: contracts.Tokenizer,
    ) -> tuple[align.Tokenizer, gpt.Tokenizer, embeddings.Tokenizer]:
        return tokenizer, tokenizer, tokenizer

    def text_task_for_all(task: contracts.TextTask) -> tuple[gpt.Task, embeddings.TextTask]:
        return task, task

    def task_for_align(task: contracts.Task) -> align.Task:
        return task

    def sampler_for_all(sampler: contracts.Sampler) -> tuple[align.Sampler, gpt.Sampler, inference.Sampler]:
        return sampler, sampler, sampler

    def adapter_for_all(adapter: contracts.Adapter) -> align.Adapter:
        return adapter

    # Models are also modules, which no Protocol can say: the concrete ones are passed to their consumers.
    def model_for_align(gpt: GPT, bigram: Bigram) -> tuple[align.Model, ...]:
        return gpt, bigram

    def model_for_inference(gpt: GPT, bigram: Bigram) -> tuple[inference.Model, ...]:
        return gpt, bigram

    def prompts_shared(gpt: GPT) -> tuple[contracts.SharesPrompts, inference.SharesPrompts]:
        return gpt, gpt

    def model_for_word2vec(skipgram: SkipGram) -> embeddings.WordVectorModel:
        return skipgram

    def model_for_pretrain(model: GPT, bigram: Bigram) -> tuple[gpt.LanguageModel, ...]:
        return model, bigram
