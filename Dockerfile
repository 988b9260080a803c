# amix on a CPU.   docker build -t amix .   docker run --rm -v "$PWD:/data" amix fit reviews.csv out/
FROM python:3.11-slim-bookworm
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/data/.cache/huggingface
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
# torch by itself, from the index of CPU builds: the default has gigabytes of CUDA.
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)"
COPY amix ./amix
RUN pip install -c constraints.txt '.[cpu,onnx,s3,sentencepiece]' && useradd --create-home --uid 1000 amix
USER 1000
WORKDIR /data
ENTRYPOINT ["amix"]
CMD ["--help"]
